"""The plugin that makes one run of several calls: `idempotency_key=`, `unique=`, `debounce=`.

Under each key there is one record, which names the run that has it. Whether that run is alive is
asked of the run itself, so a key is free the moment its run is over, whatever became of it, and no
crash can leave one taken.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from jtask.hooks import hookimpl
from jtask_once.applying import HEADER, concerns, may_have_keys
from jtask_once.options import declared

if TYPE_CHECKING:
    from jtask.claims import Claim
    from jtask.declaration import TaskInfo
    from jtask.lifecycle import Retry
    from jtask.options import Option
    from jtask.runtime import EnqueueRequest, RunContext


@hookimpl
def jtask_options() -> "list[Option]":
    """Declare the options of `@task(...)`."""
    return declared()


@hookimpl
def jtask_headers() -> list[str]:
    """Name the header that runs with keys have."""
    return [HEADER]


@hookimpl
def jtask_applies(task: "TaskInfo[..., object]") -> bool:
    """Apply to tasks with one of the options."""
    return concerns(task)


@hookimpl
def jtask_enqueue(request: "EnqueueRequest") -> "Claim | None":
    """Claim the keys of a run, or join the run that has them."""
    from jtask_once.calls import claim_for

    return claim_for(request)


# Last: a schedule's run that is refused here has been followed by the next one by then.
@hookimpl(trylast=True)
def jtask_admit(run: "RunContext") -> "Awaitable[Retry | None] | None":
    """Let a run start whose keys are its own."""
    if not may_have_keys(run):
        return None
    from jtask_once.runs import admit

    return admit(run)


@hookimpl
def jtask_settled(run: "RunContext") -> None:
    """Let go of the keys of a run, once its end is stored."""
    if not may_have_keys(run):
        return
    from jtask_once.runs import let_go

    let_go(run)
