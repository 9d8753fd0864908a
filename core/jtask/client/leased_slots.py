"""Slots that runs of this process hold, and who gets them next."""

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from jtask.background import BackgroundTasks
from jtask.client.io_thread import IoThread
from jtask.contract import Broker
from jtask.errors import BrokerError
from jtask.ids import get_run_ids
from jtask.settings import get_settings

T = TypeVar("T")
LimitNow = Callable[[], Awaitable[int]]
_MANY = 1_000_000  # runs; more than are parked under any key
_RENEWALS = 6
"""In each lease: what is sent while a cluster elects a leader, for up to 9 s, is lost; of 15 s that
leaves little."""
_RETRY_AFTER = 1.0
"""Seconds; what could not be renewed in an outage is to be renewed soon after it."""
_FULL_SECONDS = 0.01  # for which it is taken for true that no slot is free
_MOST_FULL = 1000  # names
_log = logging.getLogger("jtask")


@dataclass(slots=True)
class _Held:
    """A slot that is held here, or asked for.

    Attributes:
        limit: How many there were when it was taken.
        token: Of the slot; None while it is asked for.
        lock: Held by whoever changes the token, or gives the slot away.
    """

    limit: int
    token: str | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class _Freed:
    """The slots of a name that are to be handed on.

    Attributes:
        tokens: Of the slots.
        turn: Held by whoever hands them on: those who come meanwhile leave theirs to the next one.
    """

    tokens: list[str] = field(default_factory=list[str])
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class LeasedSlots:
    """Hold slots for runs: renew them, and hand them on to runs that are parked under their name.

    A slot that is given back goes to the run that was parked first: it is woken with the slot's
    token, so that nobody who comes later takes the slot away. Its methods can be awaited on any
    loop.

    Args:
        io: The thread that carries the broker's I/O.
        broker: Where the slots are.
    """

    def __init__(self, io: IoThread, broker: Broker) -> None:
        self._io, self._broker = io, broker
        self._lease = get_settings().lease
        self._held: dict[tuple[str, str], _Held] = {}
        """By name and holder."""
        self._freed: defaultdict[str, _Freed] = defaultdict(_Freed)
        self._full: dict[str, tuple[int, float]] = {}
        """The names of which no slot was free a moment ago: of how many, and until when."""
        self._watched: dict[str, LimitNow] = {}
        """The names under which runs were parked here."""
        self._looking: dict[str, bool] = {}
        """The names whose free slots are being handed on, and whether to look once more."""
        self._background = BackgroundTasks()
        self._is_busy = False

    async def take(self, name: str, holder: str, limit: int) -> bool:
        """Take a slot, or renew the one that the holder has; False when none is free.

        Args:
            name: What the slots are for.
            holder: Who takes it.
            limit: How many there are.

        Raises:
            BrokerError: The broker does not answer.
        """
        return await self._on_io(self._take(name, holder, limit, None))

    async def take_or_park(
        self, name: str, run_id: str, limit: int, token: str | None = None
    ) -> bool:
        """Do `take` for a run that is parked if it gets none; `watch` is to follow then.

        So it may be wrong about there being none: many runs that come at once ask once for all.

        Args:
            name: What the slots are for.
            run_id: Who takes it.
            limit: How many there are.
            token: What the run was woken with (`RunContext.token`).

        Raises:
            BrokerError: The broker does not answer.
        """
        return await self._on_io(self._take_or_park(name, run_id, limit, token))

    async def give_back(
        self,
        name: str,
        holder: str,
        limit: int,
        token: str | None = None,
        *,
        is_fixed: bool = True,
        wake_all: bool = False,
    ) -> None:
        """Give a slot back, and hand it on.

        Args:
            name: What the slots are for.
            holder: Who has it, or perhaps not.
            limit: How many there are now.
            token: What the run was woken with, which it has perhaps not used.
            is_fixed: Whether there were never more.
            wake_all: Wake all that are parked: they need no slot any more.

        Raises:
            BrokerError: The broker does not answer; the slot is free once its lease is over.
        """
        await self._on_io(self._give_back(name, holder, limit, token, is_fixed, wake_all))

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

    async def _take_or_park(self, name: str, run_id: str, limit: int, token: str | None) -> bool:
        clock = asyncio.get_running_loop().time
        is_new = token is None and (name, run_id) not in self._held
        of, until = self._full.get(name, (0, 0.0))
        if is_new and of == limit and clock() < until:
            return False
        if await self._take(name, run_id, limit, token):
            return True
        if len(self._full) >= _MOST_FULL:
            self._full.clear()
        self._full[name] = limit, clock() + _FULL_SECONDS
        return False

    async def _take(self, name: str, holder: str, limit: int, token: str | None) -> bool:
        held = self._held.setdefault((name, holder), _Held(limit))
        async with held.lock:
            try:
                held.token = await self._broker.slots.acquire(
                    name, holder, limit, self._lease, token=held.token or slot_of(token, name)
                )
            finally:
                if held.token is None:
                    self._forget(name, holder, held)
        self._keep_busy()
        return held.token is not None

    async def _give_back(
        self,
        name: str,
        holder: str,
        limit: int,
        token: str | None,
        is_fixed: bool,
        wake_all: bool,
    ) -> None:
        slot = await self._let_go(name, holder, token)
        slots, runs = self._broker.slots, self._broker.runs
        if wake_all:
            if slot is not None:
                await slots.release(name, slot)
            await runs.wake(name, _MANY)
        elif slot is None:
            return
        elif not is_fixed and len(await slots.holders(name)) > limit:
            # There are fewer than before, and this is one too many.
            await slots.release(name, slot)
            await self._hand_on_free(name, limit)
        elif not await self._hand_on(name, slot) and await runs.parked(name):
            # Parked after nobody was, and before the slot was free.
            await self._hand_on_free(name, limit)

    async def _let_go(self, name: str, holder: str, token: str | None) -> str | None:
        """Hold a slot no more; return its token, or None when the holder has none."""
        held = self._held.get((name, holder))
        if held is None:
            # Taken in another process that was lost, or handed to the holder and not used.
            handed = slot_of(token, name)
            return await self._broker.slots.acquire(name, holder, 0, self._lease, token=handed)
        async with held.lock:
            self._forget(name, holder, held)
            return held.token

    def _forget(self, name: str, holder: str, held: _Held) -> None:
        # The holder may have another one by now.
        if self._held.get((name, holder)) is held:
            del self._held[name, holder]

    async def _watch(self, name: str, limit_now: LimitNow) -> None:
        self._watched[name] = limit_now
        self._keep_busy()
        if name in self._looking:
            self._looking[name] = True
            return
        self._looking[name] = True
        try:
            while self._looking[name]:
                self._looking[name] = False
                await self._hand_on_free(name, await limit_now())
        finally:
            del self._looking[name]

    async def _hand_on(self, name: str, slot: str) -> bool:
        """Wake the run that was parked first with a slot; free it when there is none."""
        self._full.pop(name, None)
        freed = self._freed[name]
        freed.tokens.append(slot)
        async with freed.turn:
            tokens, freed.tokens = freed.tokens, []
            if not tokens:
                return True  # whoever had the turn before has handed it on
            woken = await self._broker.runs.wake(
                name, len(tokens), tokens=[_handed(token, name) for token in tokens]
            )
            for token in tokens[woken:]:
                await self._broker.slots.release(name, token)
            if not freed.tokens:
                self._freed.pop(name, None)
        return woken == len(tokens)

    async def _hand_on_free(self, name: str, limit: int) -> bool:
        """Wake runs while slots are free; return whether some may be parked still."""
        while True:
            holder = f"free-{get_run_ids().new()}"
            slot = await self._broker.slots.acquire(name, holder, limit, self._lease)
            if slot is None:
                return True
            if not await self._hand_on(name, slot):
                return False

    def _keep_busy(self) -> None:
        if not self._is_busy:
            self._is_busy = True
            self._background.start(self._look_after())

    async def _look_after(self) -> None:
        pause = between = self._lease / _RENEWALS
        try:
            for turn in itertools.count(1):
                await asyncio.sleep(pause)
                if not (self._held or self._watched):
                    return
                try:
                    await self._renew()
                    if turn % _RENEWALS == 0:
                        await self._hand_on_all()
                    pause = between
                except BrokerError:
                    pause = min(between, _RETRY_AFTER)
        finally:
            self._is_busy = False

    async def _renew(self) -> None:
        for (name, holder), held in list(self._held.items()):
            async with held.lock:
                # Given back meanwhile, and perhaps taken again.
                if self._held.get((name, holder)) is not held:
                    continue
                held.token = await self._broker.slots.acquire(
                    name, holder, held.limit, self._lease, token=held.token
                )
                if held.token is None:
                    del self._held[name, holder]
                    _log.warning("%s has lost its slot of %r: the lease was over", holder, name)

    async def _hand_on_all(self) -> None:
        for name, limit_now in list(self._watched.items()):
            found = await self._hand_on_free(name, await limit_now())
            # Unless somebody has parked a run meanwhile.
            if not found and self._watched.get(name) is limit_now:
                del self._watched[name]


def _handed(slot: str, name: str) -> str:
    """Return what a run is woken with: the token of a slot, and of what."""
    return f"{slot}@{name}"


def slot_of(token: str | None, name: str) -> str | None:
    """Return the slot of a name that a run was woken with, or None.

    Args:
        token: What the run was woken with.
        name: What the slot would be for.
    """
    slot, _, known = (token or "").partition("@")
    return slot if slot and known == name else None
