"""The plugin that limits how many runs execute at once: `limit=`, `limit_key=`, limits with names.

A run that must wait is parked with the broker: it holds no slot of a worker, and nobody asks for it
again and again. Whoever gives a slot back hands it on to the run that has waited longest.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from jtask.hooks import TAGGED, hookimpl
from jtask_limits.applying import has_no_slot, may_be_limited, was_woken_for_nothing
from jtask_limits.blocks import concurrency
from jtask_limits.options import declared
from jtask_limits.rates import arate_limit, rate_limit

if TYPE_CHECKING:
    import click

    from jtask.claims import Claim
    from jtask.declaration import TaskInfo
    from jtask.lifecycle import Park, Retry
    from jtask.options import Option
    from jtask.outcomes import Outcome
    from jtask.runtime import EnqueueRequest, RunContext

__all__ = ["arate_limit", "concurrency", "rate_limit"]


@hookimpl
def jtask_options() -> "list[Option]":
    """Declare the options of `@task(...)`."""
    return declared()


@hookimpl
def jtask_applies(task: "TaskInfo[..., object]") -> bool:
    """Apply to tasks with a limit of their own."""
    return task.options["limit"] is not None


@hookimpl
def jtask_headers() -> list[str]:
    """Apply to runs with tags, each of which may have a limit."""
    return [TAGGED]


@hookimpl(trylast=True)  # others may put a run off, or park it for a reason of their own
def jtask_enqueue(request: "EnqueueRequest") -> "Claim | None":
    """Park what must wait of many runs that are sent at once."""
    from jtask_limits.calls import claim_for

    return claim_for(request)


@hookimpl
def jtask_admit(run: "RunContext") -> "Awaitable[Retry | Park | None] | None":
    """Let a run start that gets a slot of each of its limits."""
    if not may_be_limited(run):
        return None
    from jtask_limits.runs import admit, needs_no_slot

    return None if needs_no_slot(run) else admit(run)


@hookimpl
def jtask_attempt_over(run: "RunContext") -> Awaitable[None] | None:
    """Hand on the slots of a run."""
    if not may_be_limited(run) or has_no_slot(run):
        return None
    from jtask_limits.runs import give_back

    return give_back(run)


@hookimpl
def jtask_settled(run: "RunContext", outcome: "Outcome") -> Awaitable[None] | None:
    """Hand on the slot of a run that was woken for it and ended otherwise."""
    del outcome
    if not was_woken_for_nothing(run):
        return None
    from jtask_limits.runs import give_back

    return give_back(run)


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask limits`."""
    from jtask_limits.command import limits

    cli.add_command(limits)
