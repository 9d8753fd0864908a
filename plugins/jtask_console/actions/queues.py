"""Pause, resume and purge queues."""

from asyncio import to_thread

from jtask_console.actions.action import Action, Given, named
from jtask_console.live.hub import QUEUES
from jtask_queues.operations import pause_queue, purge_queue, resume_queue


async def _pause(given: Given) -> tuple[str, int]:
    queue = given["queue"]
    await to_thread(pause_queue, queue)
    return f"{queue} is paused: what executes goes on, and nothing more begins.", 0


async def _resume(given: Given) -> tuple[str, int]:
    queue = given["queue"]
    was_paused = await to_thread(resume_queue, queue)
    said = f"{queue} is resumed." if was_paused else f"{queue} was not paused."
    return said, 0


async def _purge(given: Given) -> tuple[str, int]:
    queue = given["queue"]
    count = await to_thread(purge_queue, queue, f"purged by {given.who}")
    return f"{count} {'run' if count == 1 else 'runs'} of {queue} cancelled.", count


_queue = named("queue")
ACTIONS = (
    Action("pause queue", "/queues/{queue}/pause", _queue, _pause, (QUEUES,)),
    Action("resume queue", "/queues/{queue}/resume", _queue, _resume, (QUEUES,)),
    Action("purge queue", "/queues/{queue}/purge", _queue, _purge, (QUEUES,)),
)
