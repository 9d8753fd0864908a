"""Pause and resume schedules, and run their tasks now."""

from jtask.client import get_client
from jtask.ids import get_run_ids
from jtask_console.actions.action import Action, Given, named
from jtask_console.live.hub import SCHEDULES
from jtask_schedules.schedule_store import ScheduleStore


async def _pause(given: Given) -> tuple[str, int]:
    client = get_client()
    await client.bridge(ScheduleStore(client.broker).pause(given["key"]))
    return "The schedule is paused.", 0


async def _resume(given: Given) -> tuple[str, int]:
    client = get_client()
    await client.bridge(ScheduleStore(client.broker).resume(given["key"]))
    return "The schedule is resumed, from its next time on.", 0


async def _run(given: Given) -> tuple[str, int]:
    client = get_client()
    run_id = get_run_ids().new()
    await client.bridge(ScheduleStore(client.broker).run_now(given["key"], run_id))
    return f"It is enqueued as run {run_id}, besides its schedule.", 0


_key = named("key")
ACTIONS = (
    Action("pause schedule", "/schedules/pause", _key, _pause, (SCHEDULES,)),
    Action("resume schedule", "/schedules/resume", _key, _resume, (SCHEDULES,)),
    Action("run schedule now", "/schedules/run", _key, _run, (SCHEDULES,)),
)
