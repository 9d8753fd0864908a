"""A task with a limit."""

import asyncio

from jtask import task

LIMIT = 10
SECONDS = 0.05


@task(limit=LIMIT)
async def limited() -> None:
    """Sleep, a few at once."""
    await asyncio.sleep(SECONDS)
