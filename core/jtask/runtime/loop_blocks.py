"""Event loops that code blocks while it waits for runs, which may need those very loops."""

import asyncio
import os
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import contextmanager
from typing import NamedTuple

from jtask.errors import RunDeadlock
from jtask.runtime.blocking import reached


class _Block(NamedTuple):
    run_ids: Collection[str]
    end: Callable[[RunDeadlock], object]


Loop = asyncio.AbstractEventLoop
_blocks: dict[Loop, _Block] = {}
_watchers: dict[Loop, Callable[[], object]] = {}


@contextmanager
def blocking_loop(
    run_ids: Collection[str], end: Callable[[RunDeadlock], object], *, is_endless: bool
) -> Generator[None]:
    """Mark a block in which this thread does nothing but wait for runs.

    Args:
        run_ids: Those runs.
        end: Called, in another thread, with the error that the wait has to end with.
        is_endless: Whether it waits for however long it takes; else nothing is done.
    """
    # Not get_running_loop, which raises: every wait comes this way, and mostly there is none.
    loop = asyncio._get_running_loop() if is_endless else None
    if loop is None:
        yield
        return
    _blocks[loop] = _Block(run_ids, end)
    try:
        if (watcher := _watchers.get(loop)) is not None:
            watcher()
        yield
    finally:
        _blocks.pop(loop, None)


def watch_loop(loop: Loop, on_block: Callable[[], object]) -> None:
    """Have a function called when the code on a loop begins to block it for runs.

    Args:
        loop: The loop.
        on_block: Called in its thread; must not block.
    """
    _watchers[loop] = on_block


def unwatch_loop(loop: Loop) -> None:
    """Undo `watch_loop`."""
    _watchers.pop(loop, None)


def is_any_loop_blocked() -> bool:
    """Tell whether code of this process blocks an event loop for runs; in most programs never."""
    return bool(_blocks)


def end_deadlock(loop: Loop, stuck: Iterable[str]) -> None:
    """End the wait that blocks a loop, if it is for what cannot go on before.

    Args:
        loop: The loop.
        stuck: The runs that can go on only on this loop.
    """
    if (block := _blocks.get(loop)) is None:
        return
    needed = reached(block.run_ids)
    if (run_id := next((one for one in stuck if one in needed), None)) is not None:
        block.end(
            RunDeadlock(
                f"deadlock: run {run_id} executes on this event loop, which is blocked meanwhile: "
                "use `await run`, or `async for`"
            )
        )


def _forget_after_fork() -> None:
    _blocks.clear()
    _watchers.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
