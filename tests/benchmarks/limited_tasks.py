"""Tasks with a limit."""

import asyncio

from jtask import task

SHORT, LONG = 0.05, 0.2
"""Seconds that a run takes."""
FEW, MANY = 10, 40
"""How many execute at once: 200 in a second, of either task."""


@task(limit=FEW)
async def short() -> None:
    """Sleep, a few at once."""
    await asyncio.sleep(SHORT)


@task(limit=MANY)
async def long() -> None:
    """Sleep for longer, more at once."""
    await asyncio.sleep(LONG)
