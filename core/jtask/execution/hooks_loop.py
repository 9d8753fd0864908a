"""The one event loop of a process on which what hooks return is awaited.

A plugin can therefore hold a connection pool: whatever task a hook is called for, it is awaited on
the same loop, which is neither a task's nor the one that carries the broker's I/O. The loop lives
in a daemon thread of its own, started by the first awaitable.
"""

import asyncio
import concurrent.futures
import contextlib
import inspect
from collections.abc import Awaitable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

from jtask.execution.loop_thread import LoopThread
from jtask.execution.one_per_process import OnePerProcess
from jtask.runtime import RunContext
from jtask.signal_safety import result_of

T = TypeVar("T")
_END_SECONDS = 2.0  # for what is still awaited when the process ends


class End(NamedTuple):
    """How an awaitable ended; a value, because a task that raises a SystemExit ends its loop.

    It also tells an awaitable that its plugin has cancelled from a run that is cancelled.
    """

    value: Any = None
    error: BaseException | None = None

    def result(self) -> Any:
        """Return the value, or raise what the awaitable raised."""
        if isinstance(self.error, asyncio.CancelledError):
            raise RuntimeError("what the hook returned was cancelled") from self.error
        if self.error is not None:
            raise self.error
        return self.value


class HooksLoop(LoopThread):
    """The thread and its loop."""

    title = "hooks thread"

    def __init__(self, name: str = "jtask-hooks") -> None:
        super().__init__(name)

    def start(self, awaitable: Awaitable[Any], end: "concurrent.futures.Future[End]") -> None:
        """Have something awaited on the loop.

        Args:
            awaitable: What to await.
            end: Is given how it ended; cancelling this cancels it.
        """
        try:
            self.loop.call_soon_threadsafe(self._start, awaitable, end)
        except RuntimeError:  # the loop is closed: the process is ending
            close_unstarted(awaitable)
            raise

    def stop(self) -> None:
        """Cancel what is still awaited, then end the loop and the thread.

        Who waits for it is not woken: the process is ending, and a run must not continue as if its
        hook had answered. It is delivered again.
        """
        # First: what ends by being cancelled below must not be taken for an answer.
        self._is_ending = True
        if self._thread.is_alive():
            self.submit(self._cancel_all())
            self._thread.join(2 * _END_SECONDS)

    def _start(self, awaitable: Awaitable[Any], end: "concurrent.futures.Future[End]") -> None:
        if end.cancelled():
            close_unstarted(awaitable)
            return
        task = self.loop.create_task(self._carry_out(awaitable, end))
        end.add_done_callback(partial(self._cancel_if_asked, task, awaitable))

    async def _carry_out(
        self, awaitable: Awaitable[Any], end: "concurrent.futures.Future[End]"
    ) -> None:
        ended = await end_of(awaitable)
        # A future that was cancelled meanwhile would raise InvalidStateError in set_result.
        if not self._is_ending and end.set_running_or_notify_cancel():
            end.set_result(ended)

    def _cancel_if_asked(
        self,
        task: "asyncio.Task[None]",
        awaitable: Awaitable[Any],
        end: "concurrent.futures.Future[End]",
    ) -> None:
        if end.cancelled():
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
                self.loop.call_soon_threadsafe(self._cancel, task, awaitable)

    def _cancel(self, task: "asyncio.Task[None]", awaitable: Awaitable[Any]) -> None:
        task.cancel()
        close_unstarted(awaitable)

    async def _cancel_all(self) -> None:
        this = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not this]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END_SECONDS)
        self.loop.stop()


# A loop in C that still runs while the interpreter ends crashes the process.
_threads = OnePerProcess(HooksLoop, HooksLoop.stop)


def get_hooks_loop() -> HooksLoop:
    """Return this process's loop for hooks, started by its first use."""
    return _threads.get()


async def answer_of(awaitable: Awaitable[Any]) -> Any:
    """Await what a hook of an asynchronous run returned; called on the run's loop.

    A future belongs to the loop on which it was made, so one of the run's own loop is awaited here:
    that is how a plugin calls functions of the user's, which expect to be on it.
    """
    if asyncio.isfuture(awaitable) and awaitable.get_loop() is asyncio.get_running_loop():
        return await awaitable
    hooks = get_hooks_loop()
    # A hook has called an asynchronous task.
    if hooks.is_current:
        return await awaitable
    end: concurrent.futures.Future[End] = concurrent.futures.Future()
    hooks.start(awaitable, end)
    return (await asyncio.wrap_future(end)).result()


def wait_for_answer(awaitable: Awaitable[Any], run: RunContext) -> Any:
    """Wait for what a hook of a plain run returned; blocks the run's thread.

    Args:
        awaitable: What the hook returned.
        run: The run; while it is waited for, cancelling the run cancels the awaitable.

    Raises:
        asyncio.CancelledError: The run was cancelled, or its worker takes it back.
        RuntimeError: Called on the loop of the hooks, which would wait for itself.
    """
    hooks = get_hooks_loop()
    if hooks.is_current:
        close_unstarted(awaitable)
        raise RuntimeError(
            f"task {run.task_name!r} was called on the loop of the hooks, which would wait for "
            f"itself: call it with asyncio.to_thread"
        )
    end: concurrent.futures.Future[End] = concurrent.futures.Future()
    try:
        with _cancelled_with(run, end):
            hooks.start(awaitable, end)
            ended = result_of(end)
    except concurrent.futures.CancelledError:
        raise asyncio.CancelledError from None
    except BaseException:  # Ctrl-C in a direct call
        end.cancel()
        raise
    return ended.result()


def on_this_loop(coroutine: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
    """Start a coroutine on the running loop, for a hook to return.

    For functions of the user's, which expect to be on their task's loop. Not a task: one that
    raises what is not an Exception would end the loop.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    async def run() -> None:
        end = await end_of(coroutine)
        if ended.done():
            return
        if isinstance(end.error, asyncio.CancelledError):
            ended.cancel()
        elif end.error is not None:
            ended.set_exception(end.error)
        else:
            ended.set_result(end.value)

    task = loop.create_task(run())
    # It holds the task, too, which the loop itself may forget; once done, it cannot be cancelled.
    ended.add_done_callback(lambda _: task.cancel())
    return ended


@contextmanager
def _cancelled_with(run: RunContext, end: "concurrent.futures.Future[Any]") -> Generator[None]:
    """Cancel what is waited for when the run is cancelled, unless the run has ended already."""
    if run.state is not None and run.state.is_final():
        yield
        return

    def cancel() -> None:
        end.cancel()

    earlier, run.on_cancel = run.on_cancel, cancel
    try:
        # Looked at only now: whoever cancels does it the other way round.
        if run.cancelled is not None:
            cancel()
        yield
    finally:
        run.on_cancel = earlier


async def end_of(awaitable: Awaitable[Any]) -> End:
    """Await something; whatever it raises is part of the value."""
    try:
        return End(await awaitable)
    except BaseException as error:
        return End(error=error)


def close_unstarted(awaitable: Awaitable[Any]) -> None:
    """Spare a coroutine that nobody will await the warning that it was forgotten."""
    if (
        inspect.iscoroutine(awaitable)
        and inspect.getcoroutinestate(awaitable) == inspect.CORO_CREATED
    ):
        awaitable.close()
