"""Wait for many runs: for all of them, or for each as it ends."""

import asyncio
import contextlib
import functools
import itertools
import queue
import time
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from jtask.errors import JTaskError, RunDeadlock
from jtask.futures.future import Future, check_timeout
from jtask.futures.silence import MOST_ASKED, SILENT_SECONDS, wait_aloud
from jtask.futures.waking import Callback
from jtask.runtime.blocking import blocked
from jtask.runtime.loop_blocks import blocking_loop
from jtask.signal_safety import wait_steps

R = TypeVar("R")
Ended = tuple[Future[Any], JTaskError | None]
"""A handle whose run is over, or with the error that keeps its end from being known here."""


class DoneAndNotDone(NamedTuple, Generic[R]):
    """What `wait` returns.

    Attributes:
        done: The runs that are over.
        not_done: The others.
    """

    done: set[Future[R]]
    not_done: set[Future[R]]


def wait(futures: Iterable[Future[R]], timeout: float | None = None) -> DoneAndNotDone[R]:
    """Block until all runs are over, whatever their ends.

    Args:
        futures: Their handles, of any kind.
        timeout: Seconds; None waits for ever. That it is over is no error.

    Raises:
        TypeError: Something is no handle.
        ValueError: A negative timeout.
        JTaskError: The end of one cannot be known here, see `Future.wait`.
    """
    wanted = set(_handles(futures))
    with contextlib.suppress(TimeoutError):
        for _ in as_completed(wanted, timeout):
            pass
    return _sorted(wanted)


async def wait_async(
    futures: Iterable[Future[R]], timeout: float | None = None
) -> DoneAndNotDone[R]:
    """Do what `wait` does without blocking the event loop."""
    wanted = set(_handles(futures))
    with contextlib.suppress(TimeoutError):
        async for _ in as_completed_async(wanted, timeout):
            pass
    return _sorted(wanted)


def as_completed(
    futures: Iterable[Future[R]], timeout: float | None = None
) -> Generator[Future[R]]:
    """Yield the handles of runs as these end, each once; first those that are over.

    Args:
        futures: The handles, of any kind.
        timeout: Seconds for all of them; None waits for ever.

    Raises:
        TimeoutError: Not all were over in time.
        TypeError: Something is no handle.
        ValueError: A negative timeout.
        JTaskError: The end of one cannot be known here, see `Future.wait`.
    """
    _check(timeout)
    return _as_completed(dict.fromkeys(_handles(futures)), timeout)


def as_completed_async(
    futures: Iterable[Future[R]], timeout: float | None = None
) -> AsyncGenerator[Future[R], None]:
    """Do what `as_completed` does without blocking the event loop: use `async for`."""
    _check(timeout)
    return _as_completed_async(dict.fromkeys(_handles(futures)), timeout)


def _as_completed(wanted: Collection[Future[R]], timeout: float | None) -> Generator[Future[R]]:
    for future in wanted:
        if not future.done():
            future.check_blocking(is_endless=timeout is None)
    deadline = None if timeout is None else time.monotonic() + timeout
    inbox: queue.SimpleQueue[Ended] = queue.SimpleQueue()

    def end(error: RunDeadlock) -> None:
        inbox.put((next(iter(wanted)), error))

    with _Ends(wanted, inbox.put):
        ids = frozenset(future.run_id for future in wanted)
        for left in range(len(wanted), 0, -1):
            try:
                ended = inbox.get_nowait()
            except queue.Empty:
                endless = deadline is None
                with (
                    blocked(ids, is_endless=endless),
                    blocking_loop(ids, end, is_endless=endless),
                ):
                    ended = _next(inbox, deadline, wanted, left)
            yield _known(ended)


async def _as_completed_async(
    wanted: Collection[Future[R]], timeout: float | None
) -> AsyncGenerator[Future[R], None]:
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[Ended] = asyncio.Queue()

    def put(ended: Ended) -> None:
        # Closed while its runs went on: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(inbox.put_nowait, ended)

    deadline = None if timeout is None else loop.time() + timeout
    with _Ends(wanted, put):
        ids = frozenset(future.run_id for future in wanted)
        for left in range(len(wanted), 0, -1):
            try:
                ended = inbox.get_nowait()
            except asyncio.QueueEmpty:
                with blocked(ids, is_endless=deadline is None):
                    ended = await _next_async(inbox, deadline, wanted, left)
            yield _known(ended)


class _Ends:
    """Have the ends of runs told to one function; one callback each, no thread and no polling.

    Args:
        futures: The handles.
        tell: Called with each in the thread that learns of its end; must not block.
    """

    def __init__(self, futures: Iterable[Future[Any]], tell: Callable[[Ended], object]) -> None:
        self._callbacks: dict[Future[Any], Callback] = {
            future: functools.partial(_tell, tell, future) for future in futures
        }
        self._tell = tell

    def __enter__(self) -> None:
        for future, callback in self._callbacks.items():
            if not future.notify(callback):
                self._tell((future, None))

    def __exit__(self, *_: object) -> None:
        for future, callback in self._callbacks.items():
            if not future.done():
                future.forget(callback)


def _tell(tell: Callable[[Ended], object], future: Future[Any], trouble: JTaskError | None) -> None:
    tell((future, trouble))


def _next(
    inbox: "queue.SimpleQueue[Ended]",
    deadline: float | None,
    wanted: Collection[Future[Any]],
    left: int,
) -> Ended:
    def tell_why() -> None:
        for future in _speakers(wanted):
            if inbox.empty():
                future.tell_why()

    try:
        return wait_aloud(functools.partial(_get, inbox), deadline, tell_why)
    except TimeoutError:
        raise _unfinished(left, len(wanted)) from None


async def _next_async(
    inbox: "asyncio.Queue[Ended]",
    deadline: float | None,
    wanted: Collection[Future[Any]],
    left: int,
) -> Ended:
    telling = asyncio.get_running_loop().call_later(SILENT_SECONDS, _tell_why_soon, wanted)
    try:
        async with asyncio.timeout_at(deadline):
            return await inbox.get()
    except TimeoutError:
        raise _unfinished(left, len(wanted)) from None
    finally:
        telling.cancel()


def _get(inbox: "queue.SimpleQueue[Ended]", timeout: float | None) -> Ended:
    for seconds in wait_steps(timeout):
        with contextlib.suppress(queue.Empty):
            return inbox.get(timeout=seconds)
    raise TimeoutError


def _speakers(wanted: Iterable[Future[Any]]) -> list[Future[Any]]:
    """Return those of the runs that go on which are asked why, when none has ended for long."""
    return list(itertools.islice((one for one in wanted if not one.done()), MOST_ASKED))


def _tell_why_soon(wanted: Iterable[Future[Any]]) -> None:
    for future in _speakers(wanted):
        future.tell_why_soon()


def _known(ended: Ended) -> Future[Any]:
    future, trouble = ended
    if trouble is not None:
        raise trouble
    return future


def _unfinished(left: int, count: int) -> TimeoutError:
    return TimeoutError(f"{left} (of {count}) futures unfinished")


def _sorted(futures: set[Future[R]]) -> DoneAndNotDone[R]:
    done = {future for future in futures if future.done()}
    return DoneAndNotDone(done, futures - done)


def _handles(futures: Any) -> Iterable[Future[Any]]:
    if isinstance(futures, Future):
        raise TypeError(f"handles of several runs are taken, got one: pass [run] for {futures!r}")
    handles = list(futures)
    for each in handles:
        if not isinstance(each, Future):
            raise TypeError(
                f"only handles of runs can be waited for, got {each!r:.100}: pass what .submit() "
                f"or .delay() has returned, or get_run(run_id) for an id"
            )
    return handles


def _check(timeout: float | None) -> None:
    check_timeout(timeout)
    if timeout is not None and timeout < 0:
        raise ValueError(f"a timeout cannot be negative: {timeout}")
