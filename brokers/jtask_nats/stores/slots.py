"""Slots of a name under a lease."""

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple

from jtask.contract import SlotHolder
from jtask.errors import BrokerUnavailable
from jtask.randomness import RANDOM
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import StoredMessage, read_all
from jtask_nats.client.nats_errors import (
    WRONG_LAST_SEQUENCE,
    ApiError,
    is_gone,
)
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import last_token

_MAX_CONFLICTS = 20
"""How often in a row a slot may be lost to others; each time somebody else got one."""


class Slot(NamedTuple):
    """A slot that somebody has."""

    holder: str
    sequence: int


class Choice(NamedTuple):
    """A slot to write, and which message must be its last one."""

    number: int
    after: int


class NatsSlots:
    """A `jtask.contract.Slots`.

    A slot is a subject whose message lives as long as the lease; it is taken by writing the first
    message, renewed by writing its successor, and given back by deleting it.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def acquire(self, name: str, holder: str, limit: int, lease: float) -> bool:
        """Take or renew a slot.

        Args:
            name: What the slots are for.
            holder: Who takes one.
            limit: How many there are.
            lease: Seconds until it is free again, at least 1.

        Returns:
            bool: False when none is free.

        Raises:
            BrokerUnavailable: No answer, or others were quicker each time.
        """
        session = self._session
        await session.topology.ensure(Stream.SLOTS)
        for _ in range(_MAX_CONFLICTS):
            choice = choose_slot(await self._slots(name), holder, limit)
            if choice is None:
                return False
            # The TTL is the lease: what is not renewed is free again without anybody's help.
            lines = headers.expected(choice.after) + headers.ttl(lease)
            try:
                await session.publisher.publish(
                    session.subjects.slot(name, choice.number), holder.encode(), lines
                )
            except ApiError as error:
                if error.err_code != WRONG_LAST_SEQUENCE:
                    raise
            else:
                return True
        raise BrokerUnavailable(f"too many processes are competing for {name!r}")

    async def release(self, name: str, holder: str) -> None:
        """Give a slot back."""
        session = self._session
        await session.topology.ensure(Stream.SLOTS)
        stream = session.topology.stream_name(Stream.SLOTS)
        for slot in (await self._slots(name)).values():
            if slot.holder == holder:
                try:
                    # By sequence: the slot may be another's by now. no_erase: the bytes need not be
                    # overwritten.
                    await session.connection.api(
                        f"STREAM.MSG.DELETE.{stream}", {"seq": slot.sequence, "no_erase": True}
                    )
                except ApiError as error:
                    if not is_gone(error):
                        raise

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

    async def _slots(self, name: str) -> dict[int, Slot]:
        return {
            int(last_token(one.subject)): Slot(one.body.decode(), one.sequence)
            async for one in self._messages(name)
        }

    def _messages(self, name: str) -> AsyncIterator[StoredMessage]:
        session = self._session
        stream = session.topology.stream_name(Stream.SLOTS)
        return read_all(session.connection, stream, session.subjects.slot(name, "*"))


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
    # At random, so that those who ask at the same moment do not all ask for the same one.
    return Choice(RANDOM.choice([n for n in range(limit) if n not in slots]), 0)
