"""The tasks that the benchmarks run."""

import asyncio

from jtask import task

LIMIT = 10
LIMITED_SECONDS = 0.05


@task
async def noop() -> None:
    """Do nothing."""


@task
def noop_sync() -> None:
    """Do nothing, in a thread."""


@task
async def echo(text: str, number: int = 1) -> str:
    """Return the text."""
    return text


@task
async def nap(seconds: float) -> None:
    """Sleep."""
    await asyncio.sleep(seconds)


@task(limit=LIMIT)
async def limited() -> None:
    """Sleep, a few at once."""
    await asyncio.sleep(LIMITED_SECONDS)
