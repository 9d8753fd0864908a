"""Pause, resume and purge queues."""

from asyncio import to_thread

from jtask_console.actions.action import Action, Given, Tell, named
from jtask_console.live.hub import QUEUES
from jtask_queues.operations import pause_queue, purge_queue, resume_queue


async def _pause(given: Given, tell: Tell) -> str:
    del tell
    queue = given["queue"]
    await to_thread(pause_queue, queue)
    return f"{queue} is paused: what executes goes on, and nothing more begins."


async def _resume(given: Given, tell: Tell) -> str:
    del tell
    queue = given["queue"]
    was_paused = await to_thread(resume_queue, queue)
    return f"{queue} is resumed." if was_paused else f"{queue} was not paused."


async def _purge(given: Given, tell: Tell) -> str:
    queue = given["queue"]
    count = await to_thread(purge_queue, queue, f"purged by {given.who}")
    tell(count, count)
    return f"{count} {'run' if count == 1 else 'runs'} of {queue} cancelled."


_queue = named("queue")
ACTIONS = (
    Action("pause queue", "/queues/{queue}/pause", _queue, _pause, (QUEUES,)),
    Action("resume queue", "/queues/{queue}/resume", _queue, _resume, (QUEUES,)),
    Action("purge queue", "/queues/{queue}/purge", _queue, _purge, (QUEUES,)),
)
