"""How a thread, or a coroutine, waits for the end of a run and is woken."""

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable
from typing import Protocol

from jtask.errors import JTaskError
from jtask.futures.silence import SILENT_SECONDS, wait_aloud
from jtask.runtime.loop_blocks import blocking_loop
from jtask.signal_safety import result_of

Callback = Callable[[JTaskError | None], object]
"""Called when a run is over, or with the error that keeps its end from being known here."""


class Awaited(Protocol):
    """The handle of the run; see `jtask.futures.Future`."""

    @property
    def run_id(self) -> str:
        """What anybody finds it by."""
        ...

    def done(self) -> bool:
        """Tell whether the run is known here to be over."""
        ...

    def notify(self, callback: Callback) -> bool:
        """Call a function at the run's end; False, and no call, when that is past."""
        ...

    def forget(self, callback: Callback) -> None:
        """Undo `notify`."""
        ...

    def tell_why(self) -> None:
        """Log why the run has not ended."""
        ...

    def tell_why_soon(self) -> None:
        """Do so on the event loop that runs; returns at once."""
        ...


def block_until_over(run: Awaited, deadline: float | None) -> bool:
    """Block until a run is over; return whether it is.

    Args:
        run: Its handle.
        deadline: When to return anyway, by `time.monotonic`; None for never.

    Raises:
        JTaskError: What keeps its end from being known here.
    """
    over: concurrent.futures.Future[None] = concurrent.futures.Future()
    wake = functools.partial(_end_wait, over)
    if not run.notify(wake):
        return True
    try:
        with blocking_loop((run.run_id,), wake, is_endless=deadline is None):
            wait_aloud(functools.partial(result_of, over), deadline, run.tell_why)
    except TimeoutError:
        return run.done()
    finally:
        # Or a caller that polls with short timeouts would leave one each time.
        if not over.done():
            run.forget(wake)
    return True


async def until_over(run: Awaited, deadline: float | None) -> bool:
    """Do what `block_until_over` does without blocking the event loop.

    Args:
        run: Its handle.
        deadline: By the clock of the loop.
    """
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    wake = functools.partial(_wake, loop, over)
    if not run.notify(wake):
        return True
    telling = loop.call_later(SILENT_SECONDS, run.tell_why_soon)
    try:
        async with asyncio.timeout_at(deadline):
            await over
    except TimeoutError:
        return run.done()
    finally:
        telling.cancel()
        if not over.done() or over.cancelled():
            run.forget(wake)
    return True


def _wake(
    loop: asyncio.AbstractEventLoop, wait: "asyncio.Future[None]", trouble: JTaskError | None
) -> None:
    try:
        loop.call_soon_threadsafe(_end_wait, wait, trouble)
    except RuntimeError:
        return  # the loop was closed while its run went on: nobody waits any more


def _end_wait(
    wait: "concurrent.futures.Future[None] | asyncio.Future[None]", trouble: JTaskError | None
) -> None:
    if wait.done():
        return
    if trouble is None:
        wait.set_result(None)
    else:
        wait.set_exception(trouble)
