"""Claim the keys of a run before it is sent, or find the run that has them.

1. The record of the key is made, and names the run; then the run is stored.
2. If there is a record, the run that it names is asked for. One that counts no more is replaced in
   the record, over the revision that was read: of several who do this, one does.
3. A run that is nowhere may be about to be stored. It is given a moment, by the clock of whoever
   waits; then it is replaced. Should it be stored after all, a worker finds at its admission that
   it does not have its key, unless the one in its place is not stored either (`jtask_once.runs`).
4. Whoever took longer than that moment to store its run looks whether it was replaced meanwhile.
"""

import time
from collections.abc import Sequence

from jtask.claims import Sending
from jtask.errors import NotUnique
from jtask_once.answers import Answer
from jtask_once.keys import Key, Kind
from jtask_once.reservations import FORGOTTEN_AFTER, Reservation, Reservations
from jtask_once.standing import PATIENCE, Patience, Verdict, judge, standing_of

SLOW_SECONDS = 0.9 * PATIENCE
"""Whoever took as long to store a run may have lost its key: earlier than anybody takes it."""


class KeysClaim:
    """The keys of one run: a `jtask.claims.Claim`.

    Args:
        run_id: The run.
        task_name: For messages.
        keys: Its keys, in the order in which they are claimed.
        raises: Whether a call whose `unique` key is taken gets a NotUnique, not the run that is
            there.
    """

    def __init__(self, run_id: str, task_name: str, keys: Sequence[Key], *, raises: bool) -> None:
        self.answer = Answer()
        self._run_id, self._task_name = run_id, task_name
        self._keys, self._raises = keys, raises
        self._taken: list[Key] = []
        self._since = 0.0

    async def take(self, sending: Sending) -> str | None:
        """Claim all keys or none; return the run that has one already."""
        self._since = time.monotonic()
        with self.answer.awaited():
            other = await self._take_all(sending)
        self.answer.give(other or self._run_id)
        return other

    async def sent(self, sending: Sending) -> str | None:
        """Look whether another run has got one of the keys, if that is possible."""
        if time.monotonic() - self._since < SLOW_SECONDS:
            return None
        store = Reservations(sending.broker)
        for key in self._taken:
            if await store.seal(key, self._run_id, is_wanted=False) is None:
                continue
            # That one may be as slow, and lose the key in its turn: until it is stored, or gone.
            if (other := await self._take(key, sending)) is not None:
                await self._let_go(sending)
                return self._existing(key, other)
        return None

    async def withdraw(self, sending: Sending) -> None:
        """Let go of the keys."""
        # Those that follow get what this run is answered with.
        self.answer.give(self._run_id)
        await self._let_go(sending)

    async def _take_all(self, sending: Sending) -> str | None:
        for key in self._keys:
            other = await self._take(key, sending)
            if other is not None:
                await self._let_go(sending)
                return self._existing(key, other)
            self._taken.append(key)
        return None

    async def _let_go(self, sending: Sending) -> None:
        store = Reservations(sending.broker)
        taken, self._taken = self._taken, []
        for key in taken:
            await store.let_go(key, self._run_id)

    async def _take(self, key: Key, sending: Sending) -> str | None:
        store, patience = Reservations(sending.broker), Patience()
        now = time.time()
        own = Reservation(self._run_id, now)
        ttl = max(0.0, (sending.message.at or now) - now) + FORGOTTEN_AFTER
        revision = 0
        # Most keys are free: nobody is asked first.
        while not await store.put(key, own, revision, ttl):
            other, revision = await self._wait_for(key, sending, patience)
            if other is not None:
                return other
        return None

    async def _wait_for(
        self, key: Key, sending: Sending, patience: Patience
    ) -> tuple[str | None, int]:
        """Return the run that has a key, or the revision over which this one may take it."""
        store = Reservations(sending.broker)
        while True:
            held, revision = await store.find(key)
            if held is None or held.run_id == self._run_id:
                return None, revision
            # Before one looks: what is stored in time is seen then.
            waited = patience.waited_for(held.run_id)
            standing = await standing_of(sending.broker, held.run_id)
            verdict = judge(key.kind, held, standing, waited, time.time())
            if verdict is not Verdict.UNSETTLED:
                return (held.run_id if verdict is Verdict.HELD else None), revision
            await patience.pause()

    def _existing(self, key: Key, run_id: str) -> str:
        if key.kind is Kind.UNIQUE and self._raises:
            raise NotUnique(
                f"task {self._task_name!r}: run {run_id} with {key.about} is not over: wait for "
                f'its end, or give on_conflict="existing" to get that run',
                run_id,
            )
        return run_id
