"""Small values under keys: the last message of a subject each."""

import secrets

from jtask.contract import Record
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import StoredMessage, latest_message, read_all
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.client.purging import purge
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import decode_token, last_token


class NatsRecords:
    """A `jtask.contract.KeyValueStore`.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stream = session.topology.stream_name(Stream.RECORDS)

    async def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        revision: int | None = None,
        ttl: float | None = None,
    ) -> bool:
        """Store a value.

        Args:
            bucket: Where.
            key: Under which.
            body: The value.
            revision: Store it only over this revision; 0 is that of no record.
            ttl: Seconds after which it is deleted; None keeps it.

        Returns:
            bool: False when another revision is there.
        """
        session = self._session
        await session.topology.ensure(Stream.RECORDS)
        subject, unique = session.subjects.record(bucket, key), secrets.token_hex(12)
        lines = headers.message_id(unique)
        if is_hashed(subject):
            lines += headers.key(key)
        if ttl is not None:
            lines += headers.ttl(ttl)
        if revision is not None:
            # 0 is the revision of a record that is not there, as it is for the server.
            lines += headers.expected(revision)
        try:
            await session.publisher.publish(subject, body, lines)
        except ApiError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            # Perhaps by this very message: its answer was lost, and it was sent again.
            return await self._is_last(subject, unique)
        return True

    async def get(self, bucket: str, key: str) -> Record | None:
        """Return a record, or None when there is none."""
        session = self._session
        await session.topology.ensure(Stream.RECORDS)
        subject = session.subjects.record(bucket, key)
        # Of the leader: not all who decide by a value put another one, which would be refused where
        # they have read an older one.
        stored = await latest_message(session.connection, self._stream, subject)
        return None if stored is None else Record(key, stored.body, stored.sequence)

    async def list(self, bucket: str) -> list[Record]:
        """Return a bucket's records, by key."""
        session = self._session
        await session.topology.ensure(Stream.RECORDS)
        # One that is changed while this reads comes again, with its newer value.
        found = {
            (key := key_of(stored)): Record(key, stored.body, stored.sequence)
            async for stored in read_all(
                session.connection,
                self._stream,
                session.subjects.records(bucket),
                to_the_last=True,
            )
        }
        return [found[key] for key in sorted(found)]

    async def delete(self, bucket: str, key: str, *, revision: int | None = None) -> bool:
        """Delete a record, if a revision is given only that one; False when it is not there."""
        session = self._session
        await session.topology.ensure(Stream.RECORDS)
        subject = session.subjects.record(bucket, key)
        # What has replaced it stands behind it in the stream.
        return await purge(session.connection, self._stream, subject, up_to=revision)

    async def _is_last(self, subject: str, unique: str) -> bool:
        """Tell whether what stands against a message is that message, sent before."""
        stored = await latest_message(self._session.connection, self._stream, subject)
        return stored is not None and headers.text(stored.headers, b"Nats-Msg-Id") == unique


def is_hashed(subject: str) -> bool:
    """Tell whether the subject of a record does not hold its key."""
    return last_token(subject).startswith("==")


def key_of(stored: StoredMessage) -> str:
    """Return the key of a record."""
    key = headers.key_of(stored.headers)
    return decode_token(last_token(stored.subject)) if key is None else key
