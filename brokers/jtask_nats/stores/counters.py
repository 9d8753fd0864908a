"""Counters: the server's own, and such with a time to live, which those cannot have."""

import json
import secrets
from base64 import b64decode

from jtask.errors import BrokerUnavailable
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import last_message, latest_message
from jtask_nats.client.jetstream_api import call_known_stream
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError, is_gone
from jtask_nats.client.purging import Deleted, try_to_purge
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream

_MAX_CONFLICTS = 100
"""How often in a row others may be faster; each time one of them has counted."""


class NatsCounters:
    """A `jtask.contract.Counters`.

    A counter without a time to live is one of the server's (ADR-49): one round trip, whatever the
    competition. The server refuses a TTL there, so a counter that has one is a message in another
    stream, replaced under the condition that it is still the last one.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def prepare(self) -> None:
        """Have the stream of the counters with a time to live in place."""
        await self._session.topology.ensure(Stream.TALLIES)

    async def add(self, key: str, amount: int = 1, *, ttl: float | None = None) -> int:
        """Add to a counter and return its new value."""
        if ttl is None:
            return await self._increment(key, amount)
        return await self._replace(key, amount, ttl)

    async def get(self, key: str) -> int:
        """Return a counter that has a time to live; 0 when there is none.

        The leader is asked: a follower may not have yet what was counted a moment ago.
        """
        session = self._session
        await session.topology.ensure(Stream.TALLIES)
        stream = session.topology.stream_name(Stream.TALLIES)
        wanted = {"last_by_subj": session.subjects.tally(key)}
        try:
            answer = await call_known_stream(session.connection, f"STREAM.MSG.GET.{stream}", wanted)
        except ApiError as error:
            if not is_gone(error):
                raise
            return 0
        return int(b64decode(answer["message"]["data"]))

    def forget(self, key: str) -> None:
        """Delete a counter that has a time to live, without waiting for it to be gone."""
        session = self._session
        stream = session.topology.stream_name(Stream.TALLIES)
        wanted = json.dumps({"filter": session.subjects.tally(key)}).encode()
        session.connection.send(f"$JS.API.STREAM.PURGE.{stream}", wanted)

    async def delete(self, key: str) -> None:
        """Delete a counter; nothing happens when there is none."""
        subjects = self._session.subjects
        # Nearly all have one: no stream is made for the others in vain.
        if await self._purge(Stream.TALLIES, subjects.tally(key)) is not Deleted.YES:
            await self._purge(Stream.COUNTERS, subjects.counter(key))

    async def _purge(self, stream: Stream, subject: str) -> Deleted:
        topology = self._session.topology
        await topology.ensure(stream)
        return await try_to_purge(self._session.connection, topology.stream_name(stream), subject)

    async def _increment(self, key: str, amount: int) -> int:
        session = self._session
        await session.topology.ensure(Stream.COUNTERS)
        subject = session.subjects.counter(key)
        lines = headers.line(b"Nats-Incr", f"{amount:+d}") + headers.message_id(
            secrets.token_hex(12)
        )
        done = await session.publisher.publish(subject, b"", lines)
        if done.value is not None:
            return done.value
        # Sent twice: the server counted it once, and its answer has no value (ADR-49).
        stored = await latest_message(
            session.connection, session.topology.stream_name(Stream.COUNTERS), subject
        )
        return counter_value(b"" if stored is None else stored.body)

    async def _replace(self, key: str, amount: int, ttl: float) -> int:
        session = self._session
        await session.topology.ensure(Stream.TALLIES)
        stream = session.topology.stream_name(Stream.TALLIES)
        subject = session.subjects.tally(key)
        read = last_message
        for _ in range(_MAX_CONFLICTS):
            stored = await read(session.connection, stream, subject)
            value = amount if stored is None else int(stored.body) + amount
            after = 0 if stored is None else stored.sequence
            # The id makes a second try of the same write a duplicate, which is answered like the
            # first: without it a lost answer would look like a conflict, and be counted twice.
            lines = (
                headers.message_id(secrets.token_hex(12))
                + headers.expected(after)
                + headers.ttl(ttl)
            )
            try:
                await session.publisher.publish(subject, b"%d" % value, lines)
            except ApiError as error:
                if error.err_code != WRONG_LAST_SEQUENCE:
                    raise
                # Another was faster, or who has answered does not have the last one yet.
                read = latest_message
            else:
                return value
        raise BrokerUnavailable(f"too many processes count {key!r} at the same moment")


def counter_value(body: bytes) -> int:
    """Return the value that a counter's message holds: `{"val":"3"}`."""
    digits = body.partition(b'"val"')[2].strip(b' :"}\n')
    return int(digits or 0)
