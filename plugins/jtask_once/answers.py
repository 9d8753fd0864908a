"""Several calls of one `delay_many` with the same key: one of them asks, the others follow."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from jtask.claims import Sending


class Answer:
    """Which run counts for a call, once that is known; on the I/O loop."""

    def __init__(self) -> None:
        self._known = asyncio.Event()
        self._run_id = ""
        self._error: BaseException | None = None

    @contextmanager
    def awaited(self) -> Generator[None]:
        """Let those that follow have the error, should the block raise one."""
        try:
            yield
        except BaseException as error:
            if not self._known.is_set():
                self._error = error
                self._known.set()
            raise

    def give(self, run_id: str) -> None:
        """Say which run counts; what was said first stands."""
        if not self._known.is_set():
            self._run_id = run_id
            self._known.set()

    async def get(self) -> str:
        """Return which run counts, or raise what kept that from being known."""
        await self._known.wait()
        if self._error is not None:
            raise self._error
        return self._run_id


class Follower:
    """The claim of a call that gets the run of another one: a `jtask.claims.Claim`.

    Args:
        leader: The answer to that one.
    """

    def __init__(self, leader: Answer) -> None:
        self._leader = leader

    async def take(self, sending: Sending) -> str | None:
        """Return the run of the other call."""
        del sending
        return await self._leader.get()

    async def sent(self, sending: Sending) -> None:
        """Do nothing: it is never sent."""
        del sending

    async def withdraw(self, sending: Sending) -> None:
        """Do nothing: it has nothing."""
        del sending
