"""Small values under keys: the last message of a subject each."""

import secrets

from jtask.contract import Record
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import Stored, last_message, read_all
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.streams.session import Link
from jtask_nats.streams.subjects import last_token, plain
from jtask_nats.streams.topology import Store


class NatsRecords:
    """A `jtask.contract.Records`.

    Args:
        link: To the server.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._stream = link.topology.stream(Store.RECORDS)

    async def put_record(
        self, bucket: str, key: str, body: bytes, *, revision: int | None = None
    ) -> bool:
        """Store a value, if a revision is given only over that one."""
        link = self._link
        await link.topology.ensure(Store.RECORDS)
        subject, unique = link.subjects.record(bucket, key), secrets.token_hex(12)
        lines = headers.message_id(unique)
        if is_hashed(subject):
            lines += headers.key(key)
        if revision is not None:
            lines += headers.expected(revision)
        try:
            await link.publisher.publish(subject, body, lines)
        except ApiError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            return await self._is_last(subject, unique)
        return True

    async def get_record(self, bucket: str, key: str) -> Record | None:
        """Return a record, or None when there is none."""
        link = self._link
        await link.topology.ensure(Store.RECORDS)
        subject = link.subjects.record(bucket, key)
        stored = await last_message(link.connection, self._stream, subject)
        return None if stored is None else Record(key, stored.body, stored.sequence)

    async def records(self, bucket: str) -> list[Record]:
        """Return a bucket's records, by key."""
        link = self._link
        await link.topology.ensure(Store.RECORDS)
        # One that is changed while this reads comes again, with its newer value.
        found = {
            (key := key_of(stored)): Record(key, stored.body, stored.sequence)
            async for stored in read_all(
                link.connection, self._stream, link.subjects.records(bucket)
            )
        }
        return [found[key] for key in sorted(found)]

    async def delete_record(self, bucket: str, key: str) -> bool:
        """Forget a record; False when there was none."""
        link = self._link
        await link.topology.ensure(Store.RECORDS)
        answer = await link.connection.api(
            f"STREAM.PURGE.{self._stream}", {"filter": link.subjects.record(bucket, key)}
        )
        return bool(answer["purged"])

    async def _is_last(self, subject: str, unique: str) -> bool:
        """Tell whether what stands against a message is that message, sent before."""
        stored = await last_message(self._link.connection, self._stream, subject)
        return stored is not None and headers.text(stored.headers, b"Nats-Msg-Id") == unique


def is_hashed(subject: str) -> bool:
    """Tell whether the subject of a record does not hold its key."""
    return last_token(subject).startswith("==")


def key_of(stored: Stored) -> str:
    """Return the key of a record."""
    key = headers.key_of(stored.headers)
    return plain(last_token(stored.subject)) if key is None else key
