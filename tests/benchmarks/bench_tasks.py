"""The tasks that the benchmarks run; no option needs a plugin, so that none need be loaded."""

import asyncio

from jtask import task


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
def echo_sync(value: object) -> object:
    """Return the value, in a thread."""
    return value


@task
async def nap(seconds: float) -> None:
    """Sleep."""
    await asyncio.sleep(seconds)
