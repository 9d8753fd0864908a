"""What happens while a run waits for others: its place is free, and a circle is an error."""

import os
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from jtask.errors import RunDeadlock
from jtask.runtime.current import current_run
from jtask.runtime.run_context import RunContext


class Place(Protocol):
    """Room for one run in a task runner of limited size, held by a thread."""

    def give_back(self) -> None:
        """Let another run have it."""
        ...

    def take(self) -> None:
        """Block until there is room again."""
        ...


class _Here(threading.local):
    # Not a context variable: contexts are copied to other threads, which hold no place.
    place: Place | None = None


_here = _Here()
_lock = threading.Lock()
# Which runs of this process wait for which runs, by their ids.
_awaited: dict[str, list[Collection[str]]] = {}


@contextmanager
def holding(place: Place) -> Generator[None]:
    """Have this thread give its place to others while the code in the block waits for runs."""
    _here.place = place
    try:
        yield
    finally:
        _here.place = None


@contextmanager
def blocked(run_ids: Collection[str], *, is_endless: bool) -> Generator[None]:
    """Mark a block in which the code of this context does nothing but wait for runs.

    Args:
        run_ids: Those runs.
        is_endless: Whether it waits for however long it takes.

    Raises:
        RunDeadlock: One of them waits for the run that executes here.
    """
    place, chain = _here.place, _chain()
    waiters = [run.run_id for run in chain] if is_endless else []
    _add_waits(waiters, run_ids)
    on_wait = _slot_of(chain)
    if place is not None:
        place.give_back()
    try:
        if on_wait is not None:
            on_wait(+1, run_ids)
        yield
    finally:
        for waiter in waiters:
            remove_wait(waiter, run_ids)
        if on_wait is not None:
            on_wait(-1, run_ids)
        if place is not None:
            place.take()


@asynccontextmanager
async def blocked_async(run_ids: Collection[str], *, is_endless: bool) -> AsyncGenerator[None]:
    """Do what `blocked` does around an `await`."""
    with blocked(run_ids, is_endless=is_endless):
        yield


def add_wait(waiter: str, run_ids: Collection[str]) -> None:
    """Note that a run waits for others.

    Args:
        waiter: The run.
        run_ids: The others.

    Raises:
        RunDeadlock: One of them waits for it.
    """
    _add_waits([waiter], run_ids)


def remove_wait(waiter: str, run_ids: Collection[str]) -> None:
    """Undo `add_wait`."""
    with _lock:
        waits = _awaited.get(waiter, [])
        # By identity: it may wait for equal ones elsewhere, and thousands need not be compared.
        waits[:] = [other for other in waits if other is not run_ids]
        if not waits:
            _awaited.pop(waiter, None)


def reached(run_ids: Collection[str]) -> set[str]:
    """Return runs and all that they wait for in this process, for however long it takes."""
    with _lock:
        return set(_reached(run_ids))


def _add_waits(waiters: Sequence[str], run_ids: Collection[str]) -> None:
    with _lock:
        # All or none: whoever is refused does not wait, and removes nothing.
        for waiter in waiters:
            if waiter in _reached(run_ids):
                raise RunDeadlock(
                    f"deadlock: run {waiter} would wait for a run that waits for it, or for itself"
                )
        for waiter in waiters:
            _awaited.setdefault(waiter, []).append(run_ids)


def _reached(run_ids: Collection[str]) -> Iterator[str]:
    seen: set[str] = set()
    following = [*run_ids]
    while following:
        if (run_id := following.pop()) not in seen:
            yield run_id
            seen.add(run_id)
            for awaited in _awaited.get(run_id, ()):
                following.extend(awaited)


def _chain() -> Sequence[RunContext]:
    run = current_run()
    # Whoever has called it directly waits as well.
    return () if run is None else [run, *run.callers()]


def _slot_of(chain: Sequence[RunContext]) -> Callable[[int, Collection[str]], object] | None:
    """Return how to tell the worker that a run of its waits; None outside of workers."""
    return next((run.on_wait for run in chain if run.on_wait is not None), None)


def _forget_after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _awaited.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
