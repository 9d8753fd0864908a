"""The command `jtask demo`."""

import click

_LEAST_WORKERS = 2


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(min=_LEAST_WORKERS),
    default=_LEAST_WORKERS,
    show_default=True,
    help="How many worker processes; one of them will be killed.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def demo(context: click.Context, workers: int, *, as_json: bool) -> None:
    """Measure Python's standard library in the background, and kill a worker partway through.

    Starts what it needs and leaves nothing behind. Uses the server in JTASK_URL if that is set,
    otherwise starts its own.
    """
    import asyncio
    import signal

    from jtask_demo.environment import DemoEnvironment
    from jtask_demo.library import standard_library
    from jtask_demo.printing import print_json, print_tables
    from jtask_demo.progress import show_progress
    from jtask_demo.run import run_demo

    def end_like_ctrl_c(_number: int, _frame: object) -> None:
        # asyncio lets that in only where nothing is half done: a worker that was just started must
        # be known before the environment is left.
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGTERM, end_like_ctrl_c)
    with DemoEnvironment() as environment, show_progress(plain=as_json) as progress:
        report = asyncio.run(run_demo(environment, standard_library(), workers, progress))
    (print_json if as_json else print_tables)(report)
    context.exit(1 if report.lost or report.failed else 0)
