"""`jtask schedules`: look at the schedules, hold them up, remove them."""

import time
from collections.abc import Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

import click

from jtask.cli.output import say, say_json
from jtask.cli.parameters import as_json
from jtask.close_names import close_names

if TYPE_CHECKING:
    from jtask_schedules.schedule import Schedule
    from jtask_schedules.schedule_store import ScheduleStore

T = TypeVar("T")
_NEXT_TIMES = 3


@click.group()
def schedules() -> None:
    """Manage the tasks that run on a schedule."""


@schedules.command("ls")
@as_json
def ls(*, as_json: bool) -> None:
    """List the schedules and their next runs, and say so of one that no worker declares any more.

    Times are in the schedule's time zone. --json has the next three, and the keys.
    """
    found = _run(_store().all())
    now = time.time()
    if as_json:
        say_json([_to_json(one, now) for one in found])
    elif found:
        from jtask.cli.tables import print_table

        heads = ("NAME", "WHEN", "TIMEZONE", "NEXT", "LAST")
        print_table(heads, [_row(one, now) for one in found])
    else:
        say("no schedules", err=True)


@schedules.command()
@click.argument("name", metavar="NAME")
def pause(name: str) -> None:
    """Pause the schedule NAME (a task's name or key) until you resume it."""
    store = _store()
    _run(store.pause(_find(store, name).key))
    say(f"{name} is paused", err=True)


@schedules.command()
@click.argument("name", metavar="NAME")
def resume(name: str) -> None:
    """Resume the schedule NAME from its next time."""
    store = _store()
    _run(store.resume(_find(store, name).key))
    say(f"{name} is resumed", err=True)


@schedules.command()
@click.argument("name", metavar="NAME")
@as_json
def run(name: str, *, as_json: bool) -> None:
    """Run the task of the schedule NAME now, in addition to its schedule; print the run's id."""
    from jtask.ids import get_run_ids

    store = _store()
    run_id = get_run_ids().new()
    schedule = _find(store, name)
    _run(store.run_now(schedule.key, run_id))
    facts = {"run_id": run_id, "task": schedule.key, "queue": schedule.declaration.queue}
    (say_json(facts) if as_json else say(run_id))


@schedules.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--force", is_flag=True, help="Remove it even if a running worker will create it again."
)
def rm(name: str, *, force: bool) -> None:
    """Remove the schedule NAME, which no worker declares any more."""
    store = _store()
    _run(store.remove(_find(store, name).key, declared_too=force))
    say(f"{name} is removed", err=True)


def _store() -> "ScheduleStore":
    from jtask.client import get_client
    from jtask_schedules.schedule_store import ScheduleStore

    return ScheduleStore(get_client().broker)


def _run(work: Coroutine[Any, Any, T]) -> T:
    from jtask.client import get_client

    return get_client().io.run(work)


def _find(store: "ScheduleStore", name: str) -> "Schedule":
    from jtask_schedules.schedule_store import ScheduleError

    # A key is unique; a name is what people know, and several tasks may have the same.
    known = _run(store.all())
    found = [one for one in known if name in (one.key, one.declaration.name)]
    if not found:
        near = close_names(name, [one.declaration.name for one in known])
        hint = f"did you mean {near[0]!r}?" if near else "`jtask schedules ls` lists them"
        raise ScheduleError(f"there is no schedule {name!r}: {hint}")
    if len(found) > 1:
        keys = ", ".join(one.key for one in found)
        raise ScheduleError(
            f"{len(found)} schedules have the name {name!r}: give a key, one of {keys}"
        )
    return found[0]


def _next_times(schedule: "Schedule", now: float) -> list[float]:
    return [] if schedule.paused else schedule.trigger.first_after(now, _NEXT_TIMES)


def _to_json(schedule: "Schedule", now: float) -> dict[str, Any]:
    from jtask_schedules.decisions import is_orphaned

    declared, pending = schedule.declaration, schedule.pending
    return {
        "name": declared.name,
        "task": schedule.key,
        "queue": declared.queue,
        "cron": declared.cron,
        "every": declared.every,
        "timezone": declared.timezone,
        "missed": declared.missed,
        "paused": schedule.paused,
        "next": _next_times(schedule, now),
        "pending": None if pending is None else schedule.run_id(pending),
        "last": schedule.last,
        "declared": schedule.declared,
        "orphaned": is_orphaned(schedule, now),
    }


def _row(schedule: "Schedule", now: float) -> tuple[str, ...]:
    declared = schedule.declaration
    return (
        declared.name,
        schedule.trigger.describe(),
        declared.timezone,
        _next(schedule, now),
        "" if schedule.last is None else _show(schedule.last, schedule),
    )


def _next(schedule: "Schedule", now: float) -> str:
    from jtask_schedules.decisions import is_orphaned

    if is_orphaned(schedule, now):
        # Its next run, if one waits, would be refused: nobody's code has the schedule.
        return "no worker has it"
    next_times = _next_times(schedule, now)
    return _show(next_times[0], schedule) if next_times else "paused"


def _show(instant: float, schedule: "Schedule") -> str:
    # In the schedule's own zone, where the cron line can be recognized, not in the reader's.
    zone = ZoneInfo(schedule.declaration.timezone)
    return datetime.fromtimestamp(instant, zone).strftime("%Y-%m-%d %H:%M:%S")
