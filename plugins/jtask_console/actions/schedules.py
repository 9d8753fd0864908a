"""Pause and resume schedules, and run their tasks now."""

from jtask.client import get_client
from jtask.ids import get_run_ids
from jtask_console.actions.action import Action, Given, Tell, named
from jtask_console.live.hub import SCHEDULES
from jtask_schedules.schedule_store import ScheduleStore


async def _pause(given: Given, tell: Tell) -> str:
    del tell
    client = get_client()
    await client.bridge(ScheduleStore(client.broker).pause(given["key"]))
    return "The schedule is paused."


async def _resume(given: Given, tell: Tell) -> str:
    del tell
    client = get_client()
    await client.bridge(ScheduleStore(client.broker).resume(given["key"]))
    return "The schedule is resumed, from its next time on."


async def _run(given: Given, tell: Tell) -> str:
    del tell
    client = get_client()
    run_id = get_run_ids().new()
    await client.bridge(ScheduleStore(client.broker).run_now(given["key"], run_id))
    return f"It is enqueued as run {run_id}, besides its schedule."


_key = named("key")
ACTIONS = (
    Action("pause schedule", "/schedules/pause", _key, _pause, (SCHEDULES,)),
    Action("resume schedule", "/schedules/resume", _key, _resume, (SCHEDULES,)),
    Action("run schedule now", "/schedules/run", _key, _run, (SCHEDULES,)),
)
