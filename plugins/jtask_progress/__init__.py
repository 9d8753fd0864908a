"""The plugin that keeps how far runs are: `runtime.progress`, `run.progress()`.

It is asked about no run that says nothing of it: the first report of a run has jtask ask about the
end of its attempt.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.runtime import RunContext

_TOPIC = "progress"


@hookimpl
def jtask_headers() -> list[str]:
    """Name what runs are concerned by that have said how far they are."""
    from jtask_progress.reports import HEADER

    return [HEADER]


@hookimpl
def jtask_applies(task: "TaskInfo[..., Any]") -> bool:
    """Hear of progress from the first run of the process on."""
    from jtask.runtime.progress_reports import on_progress
    from jtask_progress.reports import take

    del task
    on_progress(take)
    return False


@hookimpl
def jtask_attempt_over(run: "RunContext") -> None:
    """Store the last report of an attempt."""
    from jtask_progress.reports import finish

    finish(run)


@hookimpl
def jtask_copy(
    run: "RunContext", tell: Callable[[str, bytes], None]
) -> AbstractContextManager[None]:
    """Send what a run reports in a child process to its worker."""
    from jtask_progress.relay import relaying

    jtask_applies(run.task)
    return relaying(run, lambda message: tell(_TOPIC, message))


@hookimpl
def jtask_told(run: "RunContext", topic: str, message: bytes) -> None:
    """Take what a run has reported in a child process."""
    if topic == _TOPIC:
        from jtask.wire.progress import decode_progress
        from jtask_progress.reports import take

        take(run, decode_progress(message))
