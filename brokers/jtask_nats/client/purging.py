"""Deleting what a stream holds.

The server's answer says whether there was something. A request whose answer is lost is sent again,
and the answer to the second copy says that there is nothing: then nobody can know whether the first
one has deleted it, and `Deleted.PERHAPS` says so.

Nor is there anything in a stream that is gone, which is made anew by the next who writes to it.

To purge is safe only in streams and under subjects that no consumer delivers just now: what is
purged while a worker has it is gone for good, and its acknowledgement finds nothing.
"""

from collections.abc import Awaitable, Mapping
from enum import Enum
from typing import Any

from jtask_nats.client.connection import Connection
from jtask_nats.client.direct_reads import latest_message
from jtask_nats.client.jetstream_api import call_api, until_heard
from jtask_nats.client.nats_errors import STREAM_NOT_FOUND, ApiError, is_gone


class Deleted(Enum):
    """What is known of a deletion; nothing is left in any case."""

    YES = 1
    NO = 2
    """There was nothing."""
    PERHAPS = 3
    """There was nothing any more when the request was answered, which was sent before."""


class _Copies:
    """Whether a request was sent more than once."""

    def __init__(self) -> None:
        self.are_several = False

    def repeated(self) -> None:
        self.are_several = True

    def nothing_found(self) -> Deleted:
        return Deleted.PERHAPS if self.are_several else Deleted.NO


async def purge(
    connection: Connection, stream: str, subject: str, *, up_to: int | None = None
) -> bool:
    """Delete each message of a stream whose subject matches; False when there was none.

    True also where a copy of the request may have deleted it and nothing is there now.

    Args:
        connection: To any server.
        stream: The name of the stream.
        subject: May hold wildcards.
        up_to: The last sequence to delete; None deletes all.

    Raises:
        ApiError: JetStream refused.
        BrokerUnavailable: No answer in time.
    """
    deleted = await try_to_purge(connection, stream, subject, up_to=up_to)
    if deleted is not Deleted.PERHAPS:
        return deleted is Deleted.YES
    # Of the leader: another server may still have what was deleted a moment ago.
    return await latest_message(connection, stream, subject) is None


async def try_to_purge(
    connection: Connection, stream: str, subject: str, *, up_to: int | None = None
) -> Deleted:
    """Do `purge`, and say what is known of it."""
    wanted: dict[str, object] = {"filter": subject}
    if up_to is not None:
        wanted["seq"] = up_to + 1  # which is the first that stays
    copies = _Copies()
    path = f"STREAM.PURGE.{stream}"
    try:
        answer = await _call(connection, path, wanted, copies)
    except ApiError as error:
        if error.err_code != STREAM_NOT_FOUND:
            raise
        return Deleted.NO
    return Deleted.YES if answer["purged"] else copies.nothing_found()


async def delete_at(connection: Connection, stream: str, sequence: int) -> Deleted:
    """Delete one message by its sequence.

    Args:
        connection: To any server.
        stream: The name of the stream.
        sequence: Of the message.

    Raises:
        ApiError: JetStream refused.
        BrokerUnavailable: No answer in time.
    """
    # no_erase: the bytes on disk need not be overwritten.
    wanted = {"seq": sequence, "no_erase": True}
    copies = _Copies()
    path = f"STREAM.MSG.DELETE.{stream}"
    try:
        await _call(connection, path, wanted, copies)
    except ApiError as error:
        if error.err_code == STREAM_NOT_FOUND:
            return Deleted.NO
        if not is_gone(error):
            raise
        return copies.nothing_found()
    return Deleted.YES


async def _call(
    connection: Connection, path: str, wanted: Mapping[str, object], copies: _Copies
) -> dict[str, Any]:
    def call() -> Awaitable[dict[str, Any]]:
        return call_api(connection, path, wanted, on_repeat=copies.repeated)

    return await until_heard(connection, call)
