"""Blobs: what is too big for a message, in chunks.

Each chunk says which writing it belongs to and how many chunks that has, so a blob that is half
written, or of which a part has expired, is not found. A writing is named after what is written: the
same data written again, with another time to live, can be read all the while. Read by batched
direct get, 10 MB take 32 ms; the object store of nats-py takes 686 ms.
"""

import asyncio
import contextlib
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator

from jtask.errors import PermissionDenied
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import StoredMessage, read_all, read_all_of_leader
from jtask_nats.client.protocol import header_value
from jtask_nats.client.publisher import PubAck
from jtask_nats.client.purging import purge
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import last_token

_CHUNK = 512 * 1024  # bytes
_OVERHEAD = 16 * 1024  # bytes of a message that may be headers
_IN_FLIGHT = 16  # chunks; what a slow line can take within the enqueue timeout
_PART = b"Jtask-Part"
_NUMBER = re.compile(r"[0-9]{1,9}")
_WRITING = re.compile(r"\w*/([0-9]{1,9})")


class NatsBlobs:
    """A `jtask.contract.BlobStore`.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    async def put(self, key: str, data: bytes, *, ttl: float | None = None) -> None:
        """Store a blob; readable on return."""
        session = self._session
        await session.topology.ensure(Stream.BLOBS)
        size = min(_CHUNK, session.connection.max_payload - _OVERHEAD)
        count = max(1, -(-len(data) // size))  # an empty blob has one chunk too
        # In a thread: hashing takes a second for a few hundred megabytes.
        digest = await asyncio.to_thread(_digest, data, size)
        # Whoever writes other data at the same moment has another one: those are never mixed.
        writing, unique = f"{digest}/{count}", secrets.token_hex(8)
        life = b"" if ttl is None else headers.ttl(ttl)
        flying: list[asyncio.Future[PubAck]] = []
        for number in range(count):
            if len(flying) >= _IN_FLIGHT:
                await flying.pop(0)
            chunk = data[number * size : (number + 1) * size]
            lines = headers.line(_PART, writing) + headers.message_id(f"{unique}.{number}") + life
            flying.append(
                session.publisher.publish(session.subjects.chunk(key, number), chunk, lines)
            )
        await asyncio.gather(*flying)

    async def get(self, key: str, *, at_most: int | None = None) -> bytes | None:
        """Return a blob, or None when it is not there or larger."""
        session = self._session
        await session.topology.ensure(Stream.BLOBS)
        stream = session.topology.stream_name(Stream.BLOBS)
        connection, subject = session.connection, session.subjects.chunk(key, "*")
        blob = await _read(read_all(connection, stream, subject), at_most)
        if blob is None and connection.is_cluster:
            with contextlib.suppress(PermissionDenied):  # then what any server knows must do
                blob = await _read(read_all_of_leader(connection, stream, subject), at_most)
        return blob

    async def delete(self, key: str) -> None:
        """Delete a blob; nothing happens when there is none."""
        session = self._session
        await session.topology.ensure(Stream.BLOBS)
        stream = session.topology.stream_name(Stream.BLOBS)
        await purge(session.connection, stream, session.subjects.chunk(key, "*"))


async def _read(found: AsyncIterator[StoredMessage], at_most: int | None) -> bytes | None:
    """Return the blob of some chunks, or None when it is not complete or larger."""
    chunks: list[StoredMessage] = []
    # Of each writing: a longer one before may have left chunks behind.
    sizes = Counter[bytes]()
    async for chunk in found:
        chunks.append(chunk)
        writing = header_value(chunk.headers, _PART) or b""
        sizes[writing] += len(chunk.body)
        if at_most is not None and sizes[writing] > at_most:
            return None
    return assemble(chunks)


def assemble(chunks: list[StoredMessage]) -> bytes | None:
    """Return the blob whose chunks were found, or None when it is not complete.

    Args:
        chunks: In the order in which they were stored; of several writings when a blob was
            written again, and the last one counts.
    """
    if not chunks:
        return None
    writing = headers.text(chunks[-1].headers, _PART)
    found = _WRITING.fullmatch(writing)
    if found is None:
        return None
    count = int(found[1])
    parts = {
        int(number): chunk.body
        for chunk in chunks
        if headers.text(chunk.headers, _PART) == writing
        and _NUMBER.fullmatch(number := last_token(chunk.subject))
    }
    if len(parts) != count:
        return None
    return b"".join(parts[number] for number in sorted(parts))


def _digest(data: bytes, size: int) -> str:
    # With the size of the chunks: cut elsewhere, the same data must not be mixed.
    found = hashlib.sha256(b"%d:" % size)
    found.update(data)
    return found.hexdigest()[:32]
