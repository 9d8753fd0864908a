"""Deleting what a stream holds under a subject.

Safe only in streams and under subjects that no consumer delivers just now: what is purged while a
worker has it is gone for good, and its acknowledgement finds nothing.
"""

from jtask_nats.client.connection import Connection


async def purge(
    connection: Connection, stream: str, subject: str, *, up_to: int | None = None
) -> bool:
    """Delete each message of a stream whose subject matches; False when there was none.

    Args:
        connection: To any server.
        stream: The name of the stream.
        subject: May hold wildcards.
        up_to: The last sequence to delete; None deletes all.

    Raises:
        ApiError: JetStream refused.
        BrokerUnavailable: No answer in time.
    """
    wanted: dict[str, object] = {"filter": subject}
    if up_to is not None:
        wanted["seq"] = up_to + 1  # which is the first that stays
    answer = await connection.api(f"STREAM.PURGE.{stream}", wanted)
    return bool(answer["purged"])
