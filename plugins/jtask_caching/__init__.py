"""The plugin that keeps results and gives them to runs that do the same work: `cache_policy=`.

A run is looked up before it takes a slot. Values are kept with the broker, under keys that the
policies of `jtask.cache_policies` compute.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from jtask.hooks import hookimpl
from jtask.states import StateName
from jtask_caching.options import declared

if TYPE_CHECKING:
    import click

    from jtask.declaration import TaskInfo
    from jtask.lifecycle import Park, Retry
    from jtask.options import Option
    from jtask.outcomes import Outcome
    from jtask.runtime import RunContext
    from jtask.settings import SettingsModel


@hookimpl
def jtask_options() -> "list[Option]":
    """Declare the options of `@task(...)`."""
    return declared()


@hookimpl
def jtask_settings() -> "type[SettingsModel]":
    """Declare whether all caches are to be made anew."""
    from jtask_caching.settings import CacheSettings

    return CacheSettings


@hookimpl
def jtask_applies(task: "TaskInfo[..., object]") -> bool:
    """Apply to tasks with a policy, but not to generators: their items are not kept."""
    from jtask_caching.plan import plan_of

    return plan_of(task) is not None and not task.is_generator


@hookimpl
async def jtask_lookup(run: "RunContext") -> "Outcome | None":
    """End the run with the value that is kept under its key."""
    from jtask_caching.runs import look_up

    return await look_up(run)


@hookimpl
def jtask_admit(run: "RunContext") -> "Awaitable[Retry | Park | None] | None":
    """Let one of several runs with the same key start, where its policy is SERIALIZABLE."""
    from jtask_caching.runs import admit, is_exclusive

    return admit(run) if is_exclusive(run) else None


@hookimpl
def jtask_completed(run: "RunContext", outcome: "Outcome") -> None:
    """Write the value down: whoever gets it may change it before it is known to stand."""
    from jtask_caching.runs import write_down

    write_down(run, outcome)


@hookimpl
def jtask_settled(run: "RunContext", outcome: "Outcome") -> Awaitable[None] | None:
    """Keep the value of a run that was executed."""
    if outcome.state.name is not StateName.COMPLETED:
        return None
    from jtask_caching.runs import keep

    return keep(run, outcome)


@hookimpl
def jtask_attempt_over(run: "RunContext") -> Awaitable[None] | None:
    """Let those go on that waited for the run."""
    from jtask_caching.runs import is_exclusive, let_go

    return let_go(run) if is_exclusive(run) else None


@hookimpl
def jtask_cli(cli: "click.Group") -> None:
    """Add `jtask cache`."""
    from jtask_caching.command import cache

    cli.add_command(cache)
