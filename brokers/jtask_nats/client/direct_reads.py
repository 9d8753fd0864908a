"""Read messages back from a stream without a consumer (ADR-31)."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import NamedTuple

from jtask.errors import BrokerError, BrokerUnavailable, PermissionDenied
from jtask_nats.client import headers
from jtask_nats.client.connection import Connection
from jtask_nats.client.jetstream_api import API_TIMEOUT, call_known_stream
from jtask_nats.client.nats_errors import ApiError
from jtask_nats.client.protocol import NO_RESPONDERS, Reply, status_of
from jtask_nats.client.reachability import until_up_within
from jtask_nats.client.repeated_requests import request_repeatedly

_BATCH = 512  # messages per request
_LEADER_PAGE = 64  # messages; a request each
_BATCH_BYTES = 8 << 20  # a connection that falls far behind is closed by the server
# Seconds without a message before a page counts as lost, for each try: the server sends it once,
# and what is lost of it, or dropped in an election, shows only as silence.
_SILENCES = (1.0, 2.0, 4.0, 5.0)
_TIMEOUT = 10.0  # seconds for one message, and for a stream to get a leader
_PAUSE = 0.25  # seconds before a stream without a leader is asked again
_NO_MESSAGE = 10037
_END = 204
_NOT_FOUND = 404


class StoredMessage(NamedTuple):
    """A message as a stream keeps it.

    Attributes:
        subject: Where it was published.
        sequence: In the stream.
        stored_at: RFC 3339, in nanoseconds; see `at`.
        headers: The raw block.
        body: The message.
    """

    subject: str
    sequence: int
    stored_at: str
    headers: bytes
    body: bytes

    @property
    def at(self) -> float:
        """When it was stored, in seconds since the epoch."""
        # In nanoseconds, of which fromisoformat (since 3.11) drops what is below a microsecond.
        return datetime.fromisoformat(self.stored_at).timestamp()


class _NoLeader(BrokerUnavailable):
    """Nobody answers for a stream: it is gone, or its servers are choosing a leader."""


class _Page(NamedTuple):
    messages: list[StoredMessage]
    is_last: bool


async def last_message(connection: Connection, stream: str, subject: str) -> StoredMessage | None:
    """Return the newest message of a subject (wildcards allowed), or None.

    On a cluster a follower may answer, and not have yet what was acknowledged a moment ago: a miss
    is no proof (ADR-31).

    Raises:
        BrokerUnavailable: No answer, or no leader, within 10 s.
    """
    return await _single(connection, stream, {"last_by_subj": subject})


async def find_last_message(
    connection: Connection, stream: str, subject: str
) -> StoredMessage | None:
    """Do `last_message`, where a miss is one of the stream's leader on a cluster as well.

    Raises:
        BrokerUnavailable: No answer.
    """
    found = await last_message(connection, stream, subject)
    return found or await _missed(connection, stream, {"last_by_subj": subject})


def last_message_question(stream: str, subject: str) -> tuple[str, bytes]:
    """Return subject and body of the request that `last_message` makes, for who asks elsewhere."""
    return _api(stream), json.dumps({"last_by_subj": subject}).encode()


async def latest_message(connection: Connection, stream: str, subject: str) -> StoredMessage | None:
    """Do `last_message`, on a cluster by the leader: other servers may have an older one still.

    There it is slower than a direct get, and by another permission; without that it is what any
    server knows.

    Raises:
        ApiError: The stream does not exist.
        BrokerUnavailable: No answer.
    """
    if connection.is_cluster:
        with contextlib.suppress(PermissionDenied):
            return await _of_leader(connection, stream, {"last_by_subj": subject})
    return await last_message(connection, stream, subject)


async def read_all(
    connection: Connection,
    stream: str,
    subject: str,
    *,
    since: float | None = None,
    to_the_last: bool = False,
) -> AsyncIterator[StoredMessage]:
    """Yield the messages of a subject (wildcards allowed), oldest first, up to now.

    Args:
        connection: To the server.
        stream: Its name.
        subject: Which.
        since: Skip what was stored before this instant.
        to_the_last: See `read_pages`.

    Raises:
        BrokerUnavailable: No answer.
    """
    pages = read_pages(connection, stream, subject, since=since, to_the_last=to_the_last)
    async for page in pages:
        for message in page:
            yield message


async def read_all_of_leader(
    connection: Connection, stream: str, subject: str, *, after: int = 0
) -> AsyncIterator[StoredMessage]:
    """Do `read_all` as the stream's leader has the messages, with a request for each.

    Args:
        connection: To the server.
        stream: Its name.
        subject: Which.
        after: Skip what comes up to this sequence.

    Raises:
        BrokerUnavailable: No answer.
        PermissionDenied: We may not ask the leader.
    """
    while found := await _of_leader(connection, stream, _next_after(after, subject)):
        yield found
        after = found.sequence


async def read_pages(
    connection: Connection,
    stream: str,
    subject: str,
    *,
    since: float | None = None,
    after: int = 0,
    to_the_last: bool = False,
) -> AsyncIterator[list[StoredMessage]]:
    """Do `read_all`, with the messages as they arrive: some hundred at once.

    Args:
        connection: To the server.
        stream: Its name.
        subject: Which.
        since: Skip what was stored before this instant.
        after: Skip what comes up to this sequence; not together with `since`.
        to_the_last: On a cluster, yield what was stored before this is called even if the server
            that answers lags; its leader is asked for what is the last. Not with `since`.

    Raises:
        BrokerUnavailable: No answer.
    """
    newest = 0
    if to_the_last and connection.is_cluster:
        newest = await _newest_of_leader(connection, stream, subject)
    wanted: dict[str, object] = {"next_by_subj": subject, "batch": _BATCH}
    wanted["max_bytes"] = _BATCH_BYTES
    position: dict[str, object] = {"seq": after + 1}
    if since is not None:
        position = {"start_time": headers.instant(since)}
    while True:
        page = await _page(connection, stream, wanted | position)
        yield page.messages
        if page.messages:
            after = page.messages[-1].sequence
        # A page without messages has no position to continue from.
        if page.is_last or not page.messages:
            break
        position = {"seq": after + 1}
    if after < newest:
        async for missed in _pages_of_leader(connection, stream, subject, after):
            yield missed


async def first_messages(
    connection: Connection, stream: str, subject: str, most: int, *, after: int = 0
) -> list[StoredMessage]:
    """Return the oldest messages of a subject (wildcards allowed) that any server knows of.

    Args:
        connection: To the server.
        stream: Its name.
        subject: Which.
        most: How many, at most.
        after: Skip those up to this sequence.

    Raises:
        BrokerUnavailable: No answer.
    """
    wanted = _next_after(after, subject)
    if most == 1:
        found = await _single(connection, stream, wanted)
        return [] if found is None else [found]
    return (await _page(connection, stream, wanted | {"batch": most})).messages


async def missed_message(
    connection: Connection, stream: str, subject: str, timeout: float, *, after: int = 0
) -> StoredMessage | None:
    """Return the oldest message of a subject where `first_messages` has found none.

    Only the leader of a cluster has one then.

    Args:
        connection: To the server.
        stream: Its name.
        subject: Which; wildcards are allowed.
        timeout: Seconds that the leader is asked.
        after: Skip those up to this sequence.

    Raises:
        BrokerUnavailable: No answer.
    """
    return await _missed(connection, stream, _next_after(after, subject), timeout)


async def count(connection: Connection, stream: str, subject: str) -> int:
    """Count the messages of a subject (wildcards allowed) that any server knows of.

    Raises:
        BrokerUnavailable: No answer.
    """
    first = await _page(connection, stream, _next_after(0, subject) | {"batch": 1})
    if not first.messages:
        return 0
    # The server counts: a batch of one says how many more match (ADR-31).
    return 1 + (headers.number(first.messages[0].headers, b"Nats-Num-Pending") or 0)


async def _newest_of_leader(connection: Connection, stream: str, subject: str) -> int:
    """Return the sequence of the last message of a subject; 0 for none, or where none is told."""
    try:
        found = await _of_leader(connection, stream, {"last_by_subj": subject})
    except PermissionDenied:
        return 0  # then what any server knows must do
    return 0 if found is None else found.sequence


async def _pages_of_leader(
    connection: Connection, stream: str, subject: str, after: int
) -> AsyncIterator[list[StoredMessage]]:
    page: list[StoredMessage] = []
    async for found in read_all_of_leader(connection, stream, subject, after=after):
        page.append(found)
        if len(page) == _LEADER_PAGE:
            yield page
            page = []
    if page:
        yield page


async def _single(
    connection: Connection, stream: str, wanted: dict[str, object]
) -> StoredMessage | None:
    reply = await _answer(connection, stream, json.dumps(wanted).encode())
    if reply.status == _NOT_FOUND:
        return None
    if reply.status is not None or reply.headers is None:
        raise _refused(stream, reply.status, reply.description)
    return _stored(reply.headers, reply.data)


def _next_after(sequence: int, subject: str) -> dict[str, object]:
    return {"next_by_subj": subject, "seq": sequence + 1}


async def _missed(
    connection: Connection, stream: str, wanted: dict[str, object], timeout: float = API_TIMEOUT
) -> StoredMessage | None:
    """Return what the leader has of what another server of a cluster may not have yet."""
    if not connection.is_cluster:
        return None
    try:
        return await _of_leader(connection, stream, wanted, timeout)
    except PermissionDenied:
        return None  # then what any server knows must do


async def _of_leader(
    connection: Connection, stream: str, wanted: dict[str, object], timeout: float = API_TIMEOUT
) -> StoredMessage | None:
    try:
        answer = await call_known_stream(connection, f"STREAM.MSG.GET.{stream}", wanted, timeout)
    except ApiError as error:
        if error.err_code != _NO_MESSAGE:
            raise
        return None
    found = answer["message"]
    block, body = (base64.b64decode(found.get(part, "")) for part in ("hdrs", "data"))
    return StoredMessage(found["subject"], found["seq"], found["time"], block, body)


async def _answer(connection: Connection, stream: str, payload: bytes) -> Reply:
    """Return the first answer of a stream that is not "no leader now", or the last that is."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _TIMEOUT
    while True:
        left = max(deadline - clock(), _PAUSE)
        reply = await request_repeatedly(connection, _api(stream), payload, left)
        if reply.status != NO_RESPONDERS or clock() + _PAUSE > deadline:
            return reply
        await asyncio.sleep(_PAUSE)


async def _page(connection: Connection, stream: str, wanted: dict[str, object]) -> _Page:
    deadline = asyncio.get_running_loop().time() + _TIMEOUT
    silences = iter(_SILENCES)
    silence = next(silences)
    while True:
        try:
            return await _request_page(connection, stream, wanted, silence)
        except _NoLeader:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(_PAUSE)
        except BrokerUnavailable:
            longer = next(silences, None)
            if longer is None:
                raise
            silence = longer


async def _request_page(
    connection: Connection, stream: str, wanted: dict[str, object], silence: float
) -> _Page:
    arrived: list[StoredMessage] = []
    ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def receive(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        del subject, reply
        status, description = status_of(block)
        if status is None and block is not None:
            arrived.append(_stored(block, data))
        elif ended.done():
            return
        elif status == _END:
            ended.set_result(headers.number(block, b"Nats-Num-Pending") == 0)
        # Nothing matches at all, or no more since the page before.
        elif status == _NOT_FOUND:
            ended.set_result(True)
        else:
            ended.set_exception(_refused(stream, status, description))

    # Not by `Connection.request`, which takes the first reply only.
    inbox = connection.new_inbox()
    subscription = connection.subscribe(inbox, receive)
    try:
        # What is sent with a reply subject while disconnected would be dropped.
        await until_up_within(connection, _api(stream), silence)
        connection.send(_api(stream), json.dumps(wanted).encode(), reply=inbox)
        return _Page(arrived, await _until_silent(ended, arrived, stream, silence))
    finally:
        subscription.unsubscribe()


async def _until_silent(
    ended: asyncio.Future[bool], arrived: list[StoredMessage], stream: str, silence: float
) -> bool:
    while True:
        before = len(arrived)
        done, _ = await asyncio.wait([ended], timeout=silence)
        if done:
            return ended.result()
        if len(arrived) == before:
            raise BrokerUnavailable(f"the NATS server stopped answering on the stream {stream}")


def _api(stream: str) -> str:
    return f"$JS.API.DIRECT.GET.{stream}"


def _stored(block: bytes, body: bytes) -> StoredMessage:
    return StoredMessage(
        headers.text(block, b"Nats-Subject"),
        headers.number(block, b"Nats-Sequence") or 0,
        headers.text(block, b"Nats-Time-Stamp"),
        block,
        body,
    )


def _refused(stream: str, status: int | None, description: str) -> BrokerError:
    if status == NO_RESPONDERS:
        return _NoLeader(f"the stream {stream} does not exist, or has no leader at the moment")
    return BrokerError(f"the stream {stream} cannot be read: {description} ({status})")
