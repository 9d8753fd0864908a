"""As many tasks as BENCH_QUEUES says, each with a queue of its own."""

import os
from typing import Any

from jtask import Task, task


async def nothing() -> None:
    """Do nothing."""


def make(count: int) -> list[Task[[], Any]]:
    """Return tasks that do nothing."""
    return [task(name=f"task{number}", key=f"task{number}")(nothing) for number in range(count)]


globals().update({each.name: each for each in make(int(os.environ.get("BENCH_QUEUES", "1")))})
