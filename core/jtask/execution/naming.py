"""Give a run its own name, once, before anything is decided about it."""

import time

from jtask.execution.asking import checked_answer
from jtask.foreign_text import cut
from jtask.hook_callers import HookCaller
from jtask.lifecycle import describe
from jtask.outcomes import Outcome
from jtask.runtime import RunContext
from jtask.runtime.run_context import RUN_NAME
from jtask.states import State, StateName

_LONGEST = 200  # characters


def name_run(run: RunContext, hook: HookCaller) -> Outcome | None:
    """Ask the plugins for the name of a run that has none.

    Args:
        run: The run, with its arguments.
        hook: Calls `jtask_run_name`.

    Returns:
        Outcome | None: How the run ends because a plugin failed; None when it did not.
    """
    if RUN_NAME in run.headers:
        return None  # an earlier attempt was named
    try:
        names = [checked_answer(name, str) for name in hook(run=run)]
    except Exception as error:
        message = f"the run cannot be named: {describe(error)}"
        return Outcome(State(StateName.FAILED, time.time(), message), error=error)
    if names:
        run.rename(cut(names[0], _LONGEST))
    return None
