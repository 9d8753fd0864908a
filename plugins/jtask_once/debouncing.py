"""A burst of calls that is one run: each puts its arguments in the place of those before.

The run waits in the broker, delayed until the quiet time is over, and each call replaces its
message. Once it is due it cannot be replaced any more, and the next call begins a new burst.
"""

import time
from dataclasses import replace

from jtask.claims import Sending
from jtask.client.cancellation import cancel_waiting
from jtask.contract import Event, Message
from jtask.errors import SerializationError
from jtask.wire.envelope import decode_envelope
from jtask_once.answers import Answer
from jtask_once.claims import SLOW_SECONDS
from jtask_once.keys import Key
from jtask_once.reservations import Reservation, Reservations
from jtask_once.standing import Patience, Verdict, judge, standing_of

_MARGIN = 0.3
"""Seconds before a run is due at which a broker may let go of it."""
_DAY = 86_400.0
_KEPT_SECONDS = 7 * _DAY
"""Seconds for which the record of a burst outlives the instant at which its run is due."""


class Burst:
    """The calls of one `delay_many` with the same key: the last one counts."""

    def __init__(self) -> None:
        self.last: BurstClaim | None = None


class BurstClaim:
    """A call's place in a burst: a `jtask.claims.Claim`.

    Args:
        run_id: The run that a new burst would have.
        key: Which calls are debounced together.
        seconds: The quiet time.
        burst: Those of the same call; this one is its last so far.
    """

    def __init__(self, run_id: str, key: Key, seconds: float, burst: Burst) -> None:
        self.answer = Answer()
        self._run_id, self._key, self._seconds, self._burst = run_id, key, seconds, burst
        self._since = 0.0
        burst.last = self

    async def take(self, sending: Sending) -> str | None:
        """Join the burst that goes on; None begins a new one, with this run."""
        last = self._burst.last
        if last is not None and last is not self:
            return await last.answer.get()
        self._since = time.monotonic()
        with self.answer.awaited():
            other = await self._join(sending)
        self.answer.give(other or self._run_id)
        return other

    async def sent(self, sending: Sending) -> str | None:
        """Withdraw the run if another one has begun a burst meanwhile."""
        if time.monotonic() - self._since < SLOW_SECONDS:
            return None
        store, broker = Reservations(sending.broker), sending.broker
        other = await store.seal(self._key, self._run_id, is_wanted=False)
        if other is not None:
            why = f"run {other} is executed for it: another call of the burst was quicker"
            await cancel_waiting(broker, _ignore, self._run_id, why)
        return other

    async def withdraw(self, sending: Sending) -> None:
        """End the burst that has not begun."""
        # Those that follow get what this run is answered with.
        self.answer.give(self._run_id)
        await Reservations(sending.broker).let_go(self._key, self._run_id)

    async def _join(self, sending: Sending) -> str | None:
        message, broker = sending.message, sending.broker
        _refuse_large(message)
        store, patience = Reservations(broker), Patience()
        seen = ""
        while True:
            held, revision = await store.find(self._key)
            now = time.time()
            message.at = max(message.at or 0.0, now + self._seconds + _MARGIN)
            ttl = message.at - now + _KEPT_SECONDS
            if held is not None and held.run_id != self._run_id:
                waited = patience.waited_for(held.run_id)
                if await broker.runs.replace(_in_place_of(held, message)):
                    if now - held.at > _DAY or ttl > _KEPT_SECONDS + _DAY:
                        # Whoever was quicker has renewed it, or begun a new burst.
                        await store.put(self._key, replace(held, at=now), revision, ttl)
                    return held.run_id
                verdict = await _verdict(sending, self._key, held, waited)
                if verdict is Verdict.UNSETTLED:
                    await patience.pause()
                    continue
                if verdict is Verdict.HELD and seen != held.run_id:
                    # It may have been stored between the two looks, and can be replaced then.
                    seen = held.run_id
                    continue
            own = Reservation(self._run_id, now, queue=message.queue, priority=message.priority)
            if await store.put(self._key, own, revision, ttl):
                return None


async def _verdict(sending: Sending, key: Key, held: Reservation, waited: float) -> Verdict:
    standing = await standing_of(sending.broker, held.run_id)
    return judge(key.kind, held, standing, waited, time.time())


def _in_place_of(held: Reservation, message: Message) -> Message:
    """Return the message of a call as that of the run which waits for the burst's end."""
    envelope = replace(decode_envelope(message.body), run_id=held.run_id)
    return replace(
        message,
        run_id=held.run_id,
        queue=held.queue or message.queue,
        priority=held.priority,
        body=envelope.encode(),
    )


def _refuse_large(message: Message) -> None:
    # A blob belongs to a run: the worker that has just got the run would find another call's.
    size = decode_envelope(message.body).blob
    if size is not None:
        raise SerializationError(
            f"the arguments have {size} bytes, which is too large for a run that is debounced: "
            f"pass where they are stored instead"
        )


def _ignore(event: Event) -> None:
    """Leave it to the outcome to say what became of the run."""
    del event
