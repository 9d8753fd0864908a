"""`jtask serve`: start workers."""

import logging
import sys

import click

from jtask.cli.parameters import SECONDS
from jtask.task_worker import (
    DEFAULT_CONCURRENCY,
    DEFAULT_SHUTDOWN_SECONDS,
    worker_arguments,
)
from jtask.task_worker import serve as serve_tasks
from jtask.worker.log_output import log_to_stderr

_LEVELS = click.Choice(["debug", "info", "warning", "error"], case_sensitive=False)


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...", type=click.Path())
@click.option(
    "--concurrency",
    "-c",
    "--limit",
    type=click.IntRange(1),
    default=DEFAULT_CONCURRENCY,
    show_default=True,
    help="How many runs each process executes at once. --limit is Prefect's name for it.",
)
@click.option(
    "--processes",
    "-p",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many worker processes to start. If more than one, they are supervised and restarted.",
)
@click.option(
    "--prefetch",
    type=click.IntRange(0),
    help="How many runs to hold beyond the concurrency. By default, adapts to the pace.",
)
@click.option(
    "--shutdown-timeout",
    type=SECONDS,
    default=DEFAULT_SHUTDOWN_SECONDS,
    show_default=True,
    metavar="S",
    help="How long runs may take to finish after SIGTERM or Ctrl-C, before they are handed back.",
)
@click.option("--reload", is_flag=True, help="Restart when a .py file changes.")
@click.option(
    "--reload-dir",
    "reload_dirs",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="Folder to watch instead of the current one and those of the targets. Can be repeated.",
)
@click.option("--log-level", type=_LEVELS, default="info", show_default=True)
@click.option("--lifeline", type=int, hidden=True, help="The supervisor's end of a socket.")
@click.option(
    "--worker-index", type=int, default=0, hidden=True, help="Which of its workers this is."
)
@click.option(
    "--path", "import_path", multiple=True, hidden=True, help="The supervisor's sys.path."
)
def serve(
    targets: tuple[str, ...],
    concurrency: int,
    processes: int,
    prefetch: int | None,
    shutdown_timeout: float,
    reload_dirs: tuple[str, ...],
    log_level: str,
    lifeline: int | None,
    worker_index: int,
    import_path: tuple[str, ...],
    *,
    reload: bool,
) -> None:
    """Start a worker: execute runs until Ctrl-C or SIGTERM.

    A TARGET is a module, a file.py, or one task in it: module:task, file.py:task.
    """
    level = logging.getLevelNamesMapping()[log_level.upper()]
    if processes > 1 or reload or reload_dirs:
        # Each worker loads the targets itself: nothing of the user's is imported here, so that what
        # fails to load, or is changed, can be loaded again.
        options = worker_arguments(concurrency, prefetch, shutdown_timeout)
        options.append(f"--log-level={log_level}")
        log_to_stderr(level)
        watch = reload or bool(reload_dirs)
        _supervise(targets, processes, options, shutdown_timeout, reload_dirs, watch=watch)
        return
    from jtask.worker.targets import load_targets

    if lifeline is not None:
        from jtask.worker.supervised import hold

        # Before the import of the targets: the worker ends with its supervisor from now on.
        hold(lifeline, worker_index, shutdown_timeout)
        sys.path[:] = import_path
    tasks = load_targets(list(targets))
    # After the import: a program that sets up logging itself is left alone.
    log_to_stderr(level)
    _warn_of_unshared_broker()
    serve_tasks(
        *tasks, concurrency=concurrency, prefetch=prefetch, shutdown_timeout=shutdown_timeout
    )


def _warn_of_unshared_broker() -> None:
    from jtask.client.opening import find_unshared
    from jtask.settings import get_settings

    scheme = find_unshared(get_settings().url)
    if scheme is not None:
        logging.getLogger("jtask.worker").warning(
            "%s:// exists only in this process: no other program can give this "
            "worker runs; unset JTASK_URL, or set it to a server",
            scheme,
        )


def _supervise(
    targets: tuple[str, ...],
    processes: int,
    options: list[str],
    shutdown_timeout: float,
    reload_dirs: tuple[str, ...],
    *,
    watch: bool,
) -> None:
    from jtask.worker.supervisor import supervise

    changes = None
    if watch:
        from jtask.worker.reload import changes_in, folders_of

        changes = changes_in(list(reload_dirs) or folders_of(targets))
    supervise(list(targets), processes, options, shutdown_timeout, changes)
