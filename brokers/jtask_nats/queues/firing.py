"""Do what a schedule of the server would do: put its message on a queue, and remove it."""

from jtask_nats.client import headers
from jtask_nats.client.direct_reads import StoredMessage
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.streams.session import Session


async def fire(session: Session, schedule: StoredMessage, target: str, lines: bytes) -> bool:
    """Replace a schedule by what it would produce.

    Args:
        session: To the server.
        schedule: As it is stored.
        target: The subject that its message is for.
        lines: Header lines of that, a Nats-Msg-Id among them.

    Returns:
        bool: False when it is gone: its time has come, or somebody else has fired or cancelled it.
    """
    lines += headers.expected(schedule.sequence, schedule.subject)
    # Both at once, by the server: as when the schedule itself fires (ADR-51).
    lines += headers.line(b"Nats-Scheduler", schedule.subject)
    lines += headers.line(b"Nats-Schedule-Next", "purge")
    try:
        await session.publisher.publish(target, schedule.body, lines)
    except ApiError as error:
        if error.err_code != WRONG_LAST_SEQUENCE:
            raise
        return False
    return True
