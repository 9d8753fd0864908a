"""The plugin that sends the items of generators that execute in the background: `run.stream()`."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any

from jtask.hooks import hookimpl

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.runtime import RunContext
    from jtask.settings import SettingsModel

_ITEMS = "items"


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare how much one run may stream."""
    from jtask_streams.settings import StreamSettings

    return StreamSettings


@hookimpl
def jtask_applies(task: "TaskInfo[..., Any]") -> bool:
    """Apply to generators."""
    return task.is_generator


@hookimpl
def jtask_around(
    run: "RunContext",
) -> "AbstractContextManager[None] | AbstractAsyncContextManager[None] | None":
    """Send what a generator yields, unless its caller gets it directly."""
    if run.is_streamed:
        return None
    from jtask_streams.sending import sending, sending_async

    return sending_async(run) if run.task.is_async else sending(run)


@hookimpl
def jtask_attempt_over(run: "RunContext") -> None:
    """Take nothing more of a generator that still executes although its run has ended."""
    from jtask_streams.sending import close

    close(run)


@hookimpl
def jtask_copy(
    run: "RunContext", tell: Callable[[str, bytes], None]
) -> AbstractContextManager[None] | None:
    """Send what a generator in a child process yields to its worker."""
    if not run.task.is_generator:
        return None
    from jtask_streams.relay import relaying

    return relaying(run, lambda message: tell(_ITEMS, message))


@hookimpl
def jtask_told(run: "RunContext", topic: str, message: bytes) -> None:
    """Take items of a generator in a child process."""
    if topic == _ITEMS:
        from jtask_streams.sending import receive

        receive(run, message)
