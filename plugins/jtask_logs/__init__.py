"""The plugin that keeps what runs log and print: `jtask logs`, `log_prints`.

It is asked about no run that logs nothing: records come by `logging` itself, and the first of a run
has jtask ask about the end of its attempt.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from jtask.hooks import hookimpl
from jtask.options import Option, check_flag

if TYPE_CHECKING:
    import click

    from jtask.declaration import TaskInfo
    from jtask.lifecycle import AttemptEnd
    from jtask.runtime import RunContext
    from jtask.settings import SettingsModel

HEADER = "jtask-logs"
"""No message has it: by it jtask asks this plugin about the runs that have logged something."""

_TOPIC = "logs"


@hookimpl
def jtask_options() -> list[Option]:
    """Declare what `@task(...)` takes."""
    return [
        Option(
            "log_prints", check=check_flag, help="Have what a run prints in its log.", travels=True
        )
    ]


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare what is kept."""
    from jtask_logs.settings import LogSettings

    return LogSettings


@hookimpl
def jtask_headers() -> list[str]:
    """Name what runs are concerned by that have logged something."""
    return [HEADER]


@hookimpl
def jtask_applies(task: "TaskInfo[..., Any]") -> bool:
    """Take records, and prints where a task wants it, from the first run of the process on."""
    from jtask_logs.prints import take_prints
    from jtask_logs.records import take_records

    take_records()
    if task.options.get("log_prints") or _prints_by_default():
        take_prints()
    return False


@hookimpl
def jtask_attempt_over(run: "RunContext", end: "AttemptEnd") -> None:
    """Say in the log that an attempt writes no more, and to the next one how much there is."""
    from jtask.lifecycle import AttemptEnd
    from jtask_logs.run_log import NAME, WRITTEN_HEADER, RunLog

    log: RunLog | None = run.notes.get(NAME)
    if log is None:
        return
    log.end()
    if end is AttemptEnd.RETRIED:
        run.hand_on(WRITTEN_HEADER, str(log.written))


@hookimpl
def jtask_copy(
    run: "RunContext", tell: Callable[[str, bytes], None]
) -> AbstractContextManager[None]:
    """Send what a run logs in a child process to its worker."""
    from jtask_logs.relay import relay

    jtask_applies(run.task)
    return relay.sending(tell)


@hookimpl
def jtask_told(run: "RunContext", topic: str, message: bytes) -> None:
    """Take what a run has logged in a child process."""
    if topic == _TOPIC:
        from jtask_logs.relay import receive

        receive(run, message)


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask logs`."""
    from jtask_logs.command import logs

    cli.add_command(logs)


def _prints_by_default() -> bool:
    from jtask.settings import settings_of
    from jtask_logs.settings import LogSettings

    return settings_of(LogSettings).log_prints
