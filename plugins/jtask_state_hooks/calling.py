"""Call a task's hooks one after the other, each for itself."""

import inspect
import logging
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from jtask.execution import on_this_loop
from jtask.execution.sync_await import await_here
from jtask.runtime import executing

if TYPE_CHECKING:
    from jtask.runtime import RunContext
    from jtask.states import State
    from jtask_state_hooks.options import Hook

_log = logging.getLogger("jtask")


def call_hooks(
    option: str, hooks: "Sequence[Hook]", run: "RunContext", state: "State"
) -> Awaitable[None] | None:
    """Call hooks in order, each after the one before has ended.

    Args:
        option: Which option of the task they are from, for the log.
        hooks: What to call.
        run: Which has entered a state.
        state: Which.

    Returns:
        Awaitable[None] | None: To be awaited where the run is on a loop; None once all were called.
    """
    if not run.blocking:
        return on_this_loop(_call_on_loop(option, hooks, run, state))
    # Hooks may ask `jtask.runtime`, as the task does; after the function it is not set any more.
    with executing(run):
        for hook in hooks:
            try:
                await_here(hook(run.task, run, state))
            except BaseException as error:
                _contain(error, option, hook, run, state)
    return None


async def _call_on_loop(
    option: str, hooks: "Sequence[Hook]", run: "RunContext", state: "State"
) -> None:
    with executing(run):
        for hook in hooks:
            try:
                answer = hook(run.task, run, state)
                if inspect.isawaitable(answer):
                    await answer
            except BaseException as error:
                _contain(error, option, hook, run, state)


def _contain(
    error: BaseException, option: str, hook: "Hook", run: "RunContext", state: "State"
) -> None:
    """Log what a hook raised, or raise it again if it is meant for somebody else.

    Whatever is no Exception came from outside: a cancellation, Ctrl-C. In a worker it must not undo
    the end of a run, which is known already; before that, and in a direct call, it has to get
    through.
    """
    is_ours = isinstance(error, Exception) or (run.queue is not None and state.is_final())
    if not is_ours:
        raise error
    # A partial, or an object that can be called, has no name.
    name = getattr(hook, "__name__", None) or repr(hook)
    _log.error(
        "the %s hook %s of task %s failed; run %s stays %s",
        option,
        name,
        run.task_name,
        run.run_id,
        state.name.value,
        exc_info=error,
    )
