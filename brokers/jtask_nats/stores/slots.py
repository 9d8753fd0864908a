"""Slots of a name under a lease."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

from jtask.contract import SlotHolder
from jtask.errors import BrokerUnavailable, PermissionDenied
from jtask.randomness import RANDOM
from jtask_nats.client import headers
from jtask_nats.client.connection import Connection
from jtask_nats.client.direct_reads import (
    StoredMessage,
    read_all,
    read_all_of_leader,
)
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError, StoreFull
from jtask_nats.client.outages import Outages
from jtask_nats.client.purging import delete_at
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import last_token

_Read = Callable[[Connection, str, str], AsyncIterator[StoredMessage]]
_MAX_CONFLICTS = 20
"""How often in a row a slot may be lost to others; each time somebody else got one."""
_TRUSTED = 3
"""How often until the leader is asked, with a request for each slot: others may lag behind it."""
_SPREAD = 32  # free slots to choose from
# A slot's number and sequence; 0 is that of a slot which nobody has.
_TOKEN = re.compile(r"([0-9]{1,10})\.([1-9][0-9]{0,19})")


class Slot(NamedTuple):
    """A slot that somebody has."""

    holder: str
    sequence: int


class Choice(NamedTuple):
    """A slot to write, and which message must be its last one."""

    number: int
    after: int

    @property
    def is_free(self) -> bool:
        """Whether nobody has it."""
        return self.after == 0


class NatsSlots:
    """A `jtask.contract.Slots`.

    A slot is a subject whose message lives as long as the lease; it is taken by writing the first
    message, renewed by writing its successor, and given back by deleting it. After an outage that
    nobody could renew in, a free slot is left to whoever had it until all may have returned.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._outages = Outages()
        session.connection.on_disconnect(self._outages.on_disconnect)
        session.connection.on_reconnect(self._outages.on_reconnect)

    async def acquire(
        self, name: str, holder: str, limit: int, lease: float, *, token: str | None = None
    ) -> str | None:
        """Take, take over or renew a slot.

        Args:
            name: What the slots are for.
            holder: Who takes one.
            limit: How many there are.
            lease: Seconds until it is free again, at least 1.
            token: Of the slot to take over, if it is valid still: in one round trip.

        Returns:
            str | None: The slot's token; None when none is free.

        Raises:
            BrokerUnavailable: No answer, or others were quicker each time.
        """
        await self._session.topology.ensure(Stream.SLOTS)
        choice = _choice_of(token)
        if choice is not None and (new := await self._write(name, choice, holder, lease)):
            return new
        for lost in range(_MAX_CONFLICTS):
            slots = await self._slots(name, of_leader=lost >= _TRUSTED)
            choice = choose_slot(slots, holder, limit)
            if choice is None:
                return None
            if token is None and choice.is_free and await self._outages.let_others_return(lease):
                continue
            if new := await self._write(name, choice, holder, lease):
                return new
        raise BrokerUnavailable(f"too many processes are competing for {name!r}")

    async def release(self, name: str, token: str) -> None:
        """Free a slot; nothing happens when the token is valid no more."""
        del name  # the sequence is enough
        session = self._session
        await session.topology.ensure(Stream.SLOTS)
        choice, stream = _choice_of(token), session.topology.stream_name(Stream.SLOTS)
        if choice is not None:
            # By sequence: the slot may be another's by now.
            await delete_at(session.connection, stream, choice.after)

    async def holders(self, name: str) -> list[SlotHolder]:
        """Return who has a slot of a name.

        Raises:
            BrokerUnavailable: No answer.
        """
        session = self._session
        await session.topology.ensure(Stream.SLOTS)
        clock = session.topology.clock
        return [
            SlotHolder(
                one.body.decode(errors="replace"),
                clock.to_ours(one.at + headers.lifetime(one.headers)),
            )
            async for one in self._messages(name)
        ]

    async def _write(self, name: str, choice: Choice, holder: str, lease: float) -> str | None:
        """Write a slot, and return its token; None when it was changed meanwhile."""
        session = self._session
        # The TTL is the lease: what is not renewed is free again without anybody's help.
        lines = headers.expected(choice.after) + headers.ttl(lease)
        subject = session.subjects.slot(name, choice.number)
        try:
            stored = await session.publisher.publish(subject, holder.encode(), lines)
        except StoreFull:
            self._outages.on_refusal()
            raise
        except ApiError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            return None
        return f"{choice.number}.{stored.seq}"

    async def _slots(self, name: str, *, of_leader: bool) -> dict[int, Slot]:
        if of_leader and self._session.connection.is_cluster:
            with contextlib.suppress(PermissionDenied):  # then what any server knows must do
                return await _by_number(self._messages(name, read_all_of_leader))
        return await _by_number(self._messages(name))

    def _messages(self, name: str, read: _Read = read_all) -> AsyncIterator[StoredMessage]:
        session = self._session
        stream = session.topology.stream_name(Stream.SLOTS)
        return read(session.connection, stream, session.subjects.slot(name, "*"))


async def _by_number(messages: AsyncIterator[StoredMessage]) -> dict[int, Slot]:
    """Return the slots that are taken."""
    return {
        int(last_token(one.subject)): Slot(one.body.decode(), one.sequence)
        async for one in messages
    }


def _choice_of(token: str | None) -> Choice | None:
    """Return what a token stands for; None when it is none."""
    found = None if token is None else _TOKEN.fullmatch(token)
    return None if found is None else Choice(int(found[1]), int(found[2]))


def choose_slot(slots: Mapping[int, Slot], holder: str, limit: int) -> Choice | None:
    """Decide which slot a holder takes: its own, else a free one, else none.

    Args:
        slots: Those that are taken, by number.
        holder: Who asks.
        limit: How many slots there are; more may be taken when it was higher before.
    """
    for number, slot in slots.items():
        if slot.holder == holder:
            return Choice(number, slot.sequence)
    if len(slots) >= limit:
        return None
    # At random, so that those who ask at the same moment do not all ask for the same one; not among
    # all of a limit that is none.
    some = range(min(limit, 2 * len(slots) + _SPREAD))
    return Choice(RANDOM.choice([number for number in some if number not in slots]), 0)
