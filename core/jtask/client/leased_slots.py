"""Slots that runs of this process hold, and who gets them next."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from jtask.background import BackgroundTasks
from jtask.client.io_thread import IoThread
from jtask.contract import Broker
from jtask.errors import BrokerError
from jtask.settings import get_settings

T = TypeVar("T")
LimitNow = Callable[[], Awaitable[int]]
_MANY = 1_000_000  # runs; more than are parked under any key
_RENEWALS = 3  # in each lease


class LeasedSlots:
    """Hold slots for runs: renew them, and hand them on to runs that are parked under their name.

    A slot that is given back goes to the run that was parked first, before that is woken, so that
    nobody who comes later takes it away. Its methods can be awaited on any loop.

    Args:
        io: The thread that carries the broker's I/O.
        broker: Where the slots are.
    """

    def __init__(self, io: IoThread, broker: Broker) -> None:
        self._io, self._broker = io, broker
        self._lease = get_settings().lease
        self._held: dict[tuple[str, str], int] = {}
        """The limit of each name and holder."""
        self._watched: dict[str, LimitNow] = {}
        """The names under which runs were parked here."""
        self._background = BackgroundTasks()
        self._is_busy = False

    async def take(self, name: str, holder: str, limit: int) -> bool:
        """Take a slot, or renew the one that the holder has; False when none is free.

        Args:
            name: What the slots are for.
            holder: Who takes it; for a run its id.
            limit: How many there are.

        Raises:
            BrokerError: The broker does not answer.
        """
        return await self._on_io(self._take(name, holder, limit))

    async def give_back(
        self, name: str, holder: str, limit: int, *, wake_all: bool = False
    ) -> None:
        """Give a slot back, and hand it on.

        Args:
            name: What the slots are for.
            holder: Who has it, or perhaps not.
            limit: How many there are.
            wake_all: Wake all that are parked: they need no slot any more.

        Raises:
            BrokerError: The broker does not answer; the slot is free once its lease is over.
        """
        await self._on_io(self._give_back(name, holder, limit, wake_all))

    async def watch(self, name: str, limit_now: LimitNow) -> None:
        """Hand on what is free, now and again while runs are parked: to be called after parking.

        A slot may have been given back just before, and later one may be left behind by whoever
        was lost with it.

        Args:
            name: What the slots are for.
            limit_now: Awaited on the I/O loop; returns how many there are now.

        Raises:
            BrokerError: The broker does not answer.
        """
        await self._on_io(self._watch(name, limit_now))

    async def wake_all(self, name: str) -> None:
        """Wake all that are parked under a name: there are no slots of it any more."""
        await self._on_io(self._broker.runs.wake(name, _MANY))

    def close(self) -> None:
        """Renew nothing any more; on the I/O thread."""
        self._background.cancel()

    async def _on_io(self, work: Coroutine[Any, Any, T]) -> T:
        return await self._io.bridge(work)

    async def _take(self, name: str, holder: str, limit: int) -> bool:
        if not await self._broker.slots.acquire(name, holder, limit, self._lease):
            return False
        self._held[name, holder] = limit
        self._keep_busy()
        return True

    async def _give_back(self, name: str, holder: str, limit: int, wake_all: bool) -> None:
        self._held.pop((name, holder), None)
        await self._broker.slots.release(name, holder)
        if wake_all:
            await self._broker.runs.wake(name, _MANY)
        else:
            await self._hand_on(name, limit)

    async def _watch(self, name: str, limit_now: LimitNow) -> None:
        self._watched[name] = limit_now
        self._keep_busy()
        await self._hand_on(name, await limit_now())

    async def _hand_on(self, name: str, limit: int) -> bool:
        """Wake those that get a slot; return whether any was parked."""
        found = False

        async def claim(run_id: str) -> bool:
            nonlocal found
            found = True
            return await self._broker.slots.acquire(name, run_id, limit, self._lease)

        await self._broker.runs.wake(name, _MANY, claim=claim)
        return found

    def _keep_busy(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self._background.start(self._look_after())

    async def _look_after(self) -> None:
        try:
            for turn in itertools.count(1):
                await asyncio.sleep(self._lease / _RENEWALS)
                if not (self._held or self._watched):
                    return
                with contextlib.suppress(BrokerError):  # it is tried again, within the lease
                    await self._renew()
                    if turn % _RENEWALS == 0:
                        await self._hand_on_all()
        finally:
            self._is_busy = False

    async def _renew(self) -> None:
        slots = self._broker.slots
        for (name, holder), limit in list(self._held.items()):
            if (name, holder) in self._held:
                await slots.acquire(name, holder, limit, self._lease)
                if (name, holder) not in self._held:  # given back meanwhile
                    await slots.release(name, holder)

    async def _hand_on_all(self) -> None:
        for name, limit_now in list(self._watched.items()):
            found = await self._hand_on(name, await limit_now())
            # Unless somebody has parked a run meanwhile.
            if not found and self._watched.get(name) is limit_now:
                del self._watched[name]
