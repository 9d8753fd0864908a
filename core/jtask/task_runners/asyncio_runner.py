"""The task runner that executes coroutine functions on one event loop."""

import asyncio
from typing import Any, Self

from jtask.background import BackgroundTasks
from jtask.errors import TaskDefinitionError
from jtask.execution.contexts import FreshContexts
from jtask.execution.loop_thread import LoopThread
from jtask.execution.one_per_process import OnePerProcess
from jtask.futures.future import Future
from jtask.task_runners.submitted import Call, Submitted
from jtask.task_runners.task_runner import TaskRunner

_thread = OnePerProcess(lambda: LoopThread("jtask-submitted-loop"), LoopThread.stop)


class AsyncioTaskRunner(TaskRunner):
    """Execute coroutine functions on the event loop of who submits them, all at once.

    Where that has none, they are executed on one loop in a thread of jtask's own. What blocks the
    loop holds up all of them. Plain functions belong to the other task runners.

    Use `async with`, whose end lets the loop go on while it waits.
    """

    def start(self, call: Call) -> Future[Any]:
        """Begin a run, or have it begin once what it waits for is over; returns at once.

        Raises:
            TaskDefinitionError: The task is a plain function.
        """
        if not call.task.is_async:
            raise TaskDefinitionError(
                f"task {call.task.name!r} is a plain function, which would hold up the event loop: "
                f"use ThreadPoolTaskRunner"
            )
        loop = asyncio._get_running_loop() or _thread.get().loop
        submitted = Submitted(call, _Loop(loop))
        submitted.future.loop = loop
        submitted.begin()
        return submitted.future

    def duplicate(self) -> Self:
        """Return another one."""
        return type(self)()


class _Loop:
    """Executes submitted runs on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks = BackgroundTasks()
        self._contexts = FreshContexts()

    def start(self, run: Submitted) -> None:
        """Have an attempt of a run made; returns at once."""
        self._loop.call_soon_threadsafe(self._begin, run)

    def _begin(self, run: Submitted) -> None:
        self._tasks.start(run.execute_on_loop(), context=self._contexts.new())
