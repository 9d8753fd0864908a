"""Runs that are parked under a key: schedules with a far instant, until somebody wakes them."""

from jtask_nats.client import headers
from jtask_nats.client.direct_reads import StoredMessage, first_messages
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import last_token

_MOST = 100  # runs that are looked at together


class ParkedRuns:
    """Wake what `Delivery.park` has parked.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stream = session.topology.stream_name(Stream.RUNS)

    async def wake(self, key: str, count: int) -> int:
        """Queue at once the runs that were parked first; return how many.

        Args:
            key: What they are parked under.
            count: How many, at most.

        Raises:
            BrokerError: The server refuses, or does not answer.
        """
        session = self._session
        await session.topology.ensure(Stream.RUNS)
        woken, after = 0, 0
        while woken < count:
            most = min(count - woken, _MOST)
            subject = session.subjects.parked("*", key, "*")
            found = await first_messages(
                session.connection, self._stream, subject, most, after=after
            )
            if not found:
                break
            for one in found:
                woken += await self._wake(one)
            after = found[-1].sequence
        return woken

    async def _wake(self, parked: StoredMessage) -> bool:
        """Replace a schedule by what it would produce; False when it is gone."""
        target = headers.text(parked.headers, b"Nats-Schedule-Target")
        run_id, sequence = last_token(parked.subject), parked.sequence
        lines = headers.message_id(f"{run_id}:{sequence}:woken")
        lines += headers.expected(sequence, parked.subject)
        # Both at once, by the server: as when the schedule itself fires (ADR-51).
        lines += headers.line(b"Nats-Scheduler", parked.subject)
        lines += headers.line(b"Nats-Schedule-Next", "purge")
        if (lost := headers.number(parked.headers, headers.LOST)) is not None:
            lines += headers.line(headers.LOST, lost)
        try:
            await self._session.publisher.publish(target, parked.body, lines)
        except ApiError as error:
            # Somebody else has woken or cancelled it, or its time has come.
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            return False
        return True
