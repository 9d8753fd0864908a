"""How the code of a transaction waits: by blocking its thread, or on an event loop.

What is to be done stands once, in coroutines. With `BLOCKING` they never suspend, and `run_sync`
runs them to their end without an event loop.
"""

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from jtask.errors import BrokerError, reworded
from jtask.execution.sync_await import await_here, run_sync

if TYPE_CHECKING:
    from jtask.client import Client

T = TypeVar("T")
OnIo = Callable[["Client"], Coroutine[Any, Any, T]]


class Way(Protocol):
    """How to wait."""

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the user's, which may be asynchronous."""
        ...

    async def carry_out(self, work: Coroutine[Any, Any, T], *, suspends: bool) -> T:
        """Carry out work of jtask's.

        Args:
            work: What to do.
            suspends: Whether it needs an event loop.
        """
        ...

    async def on_io(self, work: OnIo[T], about: str) -> T:
        """Ask the broker.

        Args:
            work: Called on the I/O loop.
            about: What needs the broker, for the message.

        Raises:
            BrokerError: It cannot be asked, or refuses.
        """
        ...


class _Blocking:
    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return await_here(function(*args))

    async def carry_out(self, work: Coroutine[Any, Any, T], *, suspends: bool) -> T:
        done: T = await_here(work) if suspends else run_sync(work)
        return done

    async def on_io(self, work: OnIo[T], about: str) -> T:
        from jtask.client import get_client

        try:
            client = get_client()
            return client.io.run(work(client))
        except BrokerError as error:
            raise _with_subject(error, about) from error


class _Awaiting:
    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        answer = function(*args)
        return await answer if inspect.isawaitable(answer) else answer

    async def carry_out(self, work: Coroutine[Any, Any, T], *, suspends: bool) -> T:
        del suspends  # either will do
        return await work

    async def on_io(self, work: OnIo[T], about: str) -> T:
        from jtask.client import connected_client

        try:
            client = await connected_client()
            return await client.io.bridge(work(client))
        except BrokerError as error:
            raise _with_subject(error, about) from error


BLOCKING: Way = _Blocking()
AWAITING: Way = _Awaiting()


def _with_subject(error: BrokerError, about: str) -> BrokerError:
    return reworded(error, f"{about} needs the broker: {error}")
