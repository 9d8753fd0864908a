"""A rule on a loop of its own, within a bounded time: a broker that stands still stops no suite.

It runs in a thread of its own, as jtask runs its brokers too. What blocks the loop there, or goes
on although it is cancelled, is left behind.
"""

import asyncio
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import thread as executors
from contextvars import copy_context
from types import FrameType, TracebackType
from typing import Any

import pytest

LONGEST = 90.0  # seconds; no rule takes so long on a broker that keeps it
CLOSING = 20.0  # seconds, for its clients
GRACE = 20.0  # seconds, for what was cancelled, and for what the broker leaves behind, to end
_SHOWN = 8  # lines of the program, the innermost ones


def run_rule(
    name: str, body: Callable[[], Awaitable[None]], close: Callable[[], Awaitable[None]]
) -> None:
    """Run a rule, then close its clients; raise what they raise.

    Args:
        name: Of the rule.
        body: What it checks.
        close: Closes what it has opened, however it ended.

    Raises:
        Failed: It did not end in time.
    """
    __tracebackhide__ = True
    trial = _Trial(name, body, close)
    try:
        trial.start()
        trouble = trial.wait()
    except BaseException:  # Ctrl-C, or another plugin's time limit
        trial.cancel()
        trial.over.wait(GRACE)
        raise
    if trouble is not None:
        text = trial.describe(trouble)
        trial.leave_behind()
        pytest.fail(text, pytrace=False)
    if trial.error is not None:
        raise trial.error.with_traceback(_of_the_rule(trial.error.__traceback__))


class _Trial:
    def __init__(
        self, name: str, body: Callable[[], Awaitable[None]], close: Callable[[], Awaitable[None]]
    ) -> None:
        self._name, self._body, self._close = name, body, close
        self._threads_before = set(threading.enumerate())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._checked, self._closed = threading.Event(), threading.Event()
        self.over = threading.Event()
        self.error: BaseException | None = None

    def start(self) -> None:
        context = copy_context()
        threading.Thread(
            target=context.run, args=(self._run,), name=self._name, daemon=True
        ).start()

    def wait(self) -> str | None:
        """Return None once it is over, or why it will not be."""
        if not self._checked.wait(LONGEST + GRACE):
            return "it blocks the loop, or goes on although it was cancelled"
        if not self._closed.wait(CLOSING + GRACE):
            return "a client that is being closed blocks the loop, or goes on for ever"
        if not self.over.wait(GRACE):
            return "the broker left a task or a thread behind that does not end"
        return None

    def cancel(self) -> None:
        """Cancel the rule, from another thread."""
        if self._loop is None or self._task is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._task.cancel)
        except RuntimeError:  # the loop is closed: it was over just now
            return

    def describe(self, trouble: str) -> str:
        """Say that the rule does not end, and where it stands."""
        told = f"{self._name} does not end: {trouble}. It stands here:"
        return "\n".join([told, *self._places()])

    def leave_behind(self) -> None:
        """Let the process end without the threads that the rule has started: all are daemons."""
        for thread in self._started():
            # Those of executors, daemons or not, are waited for all the same.
            executors._threads_queues.pop(thread, None)  # type: ignore[attr-defined] # pyright: ignore

    def _started(self) -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one not in self._threads_before]

    def _run(self) -> None:
        try:
            asyncio.run(self._check())
        except BaseException as error:  # pytest's own, too: they are raised where pytest sees them
            self.error = error
        for event in (self._checked, self._closed, self.over):
            event.set()

    async def _check(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        unheard: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _, context: unheard.append(context))
        try:
            await _within(LONGEST, self._body, f"{self._name} was not over after {{:g}} s")
        finally:
            self._checked.set()
            await _within(
                CLOSING, self._close, f"{self._name}: a client was not closed in {{:g}} s"
            )
            self._closed.set()
        assert unheard == [], "the broker let errors go unheard on its loop"

    def _places(self) -> Iterator[str]:
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
        for thread in self._started():
            if thread.ident in frames:
                yield f"thread {thread.name}:"
                yield _lines(list(traceback.walk_stack(frames[thread.ident]))[::-1])
        for task in asyncio.all_tasks(self._loop) if self._loop is not None else ():
            yield f"task {task.get_name()}:"
            yield _lines([(frame, frame.f_lineno) for frame in _awaited_by(task.get_coro())])


async def _within(seconds: float, work: Callable[[], Awaitable[None]], sentence: str) -> None:
    told, limit = sentence.format(seconds), asyncio.timeout(seconds)
    try:
        async with limit:
            await work()
    except Exception as error:  # whatever a broker makes of being cancelled
        if not limit.expired():
            raise
        raise pytest.fail.Exception(f"{told}: the broker did not answer") from error
    if limit.expired():
        pytest.fail(f"{told}: the broker took being cancelled for an answer")


def _of_the_rule(whole: TracebackType | None) -> TracebackType | None:
    # The frames of what runs a rule say nothing about the broker.
    rest = whole
    while rest is not None and rest.tb_frame.f_globals["__name__"].startswith(
        ("asyncio", __name__)
    ):
        rest = rest.tb_next
    return rest or whole


def _awaited_by(coroutine: Any) -> Iterator[FrameType]:
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        yield frame
        coroutine = coroutine.cr_await


def _lines(stack: list[tuple[FrameType, int]]) -> str:
    return "".join(traceback.StackSummary.extract(iter(stack[-_SHOWN:])).format()).rstrip()
