"""Runs that are parked under a key: schedules with a far instant, until somebody wakes them."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence

from jtask.contract import TOP_PRIORITY
from jtask.errors import BrokerUnavailable
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import StoredMessage, count, first_messages, missed_message
from jtask_nats.client.jetstream_api import API_TIMEOUT, list_subjects
from jtask_nats.queues.firing import fire
from jtask_nats.queues.queue_counts import level_of
from jtask_nats.streams.session import Session
from jtask_nats.streams.subjects import last_token

_MOST = 100  # runs that are looked at together
_LEADER_SECONDS = 1.0  # that a stream without a leader holds up what is woken in others


class ParkedRuns:
    """Wake what `Delivery.park` has parked.

    Args:
        session: To the server.
        open_priority: Awaited with a queue and a priority before a run is stored there.
    """

    def __init__(
        self, session: Session, open_priority: Callable[[str, int], Awaitable[None]]
    ) -> None:
        self._session = session
        self._open_priority = open_priority
        self._streams = session.topology.run_streams.names

    async def wake(
        self, key: str, count: int, tokens: Sequence[str] = (), *, first: bool = True
    ) -> int:
        """Queue at once the runs that were parked first; return how many.

        Args:
            key: What they are parked under.
            count: How many, at most.
            tokens: What they are given, in their order. Who gives some looks again later, so a
                stream without a leader is left out; else it counts as no answer, once what the
                others have is woken.
            first: Whether they go before what is on their queue.

        Raises:
            BrokerError: The server refuses, or does not answer.
        """
        session = self._session
        await session.topology.ensure_runs()
        subject = session.subjects.parked("*", key, "*")
        woken, after = 0, dict.fromkeys(self._streams, 0)
        while woken < count:
            most = min(count - woken, _MOST)
            found = await self._oldest(subject, most, after)
            if not found:
                found = (await self._missed(subject, after, must_answer=not tokens))[:most]
            if not found:
                break
            parked = [one for _, one in found]
            woken += await self._wake_all(parked, tokens[woken:], first=first)
            after |= {stream: one.sequence for stream, one in found}
        return woken

    async def count(self, key: str) -> int:
        """Count the runs that are parked under a key.

        Raises:
            BrokerError: The server refuses, or does not answer.
        """
        session = self._session
        await session.topology.ensure_runs()
        subject = session.subjects.parked("*", key, "*")
        counting = (count(session.connection, stream, subject) for stream in self._streams)
        known = sum(await asyncio.gather(*counting))
        beginning = dict.fromkeys(self._streams, 0)
        return known or len(await self._missed(subject, beginning, must_answer=True))

    async def keys(self, prefix: str) -> set[str]:
        """Return the keys that begin so and that runs are parked under.

        Raises:
            BrokerError: The server refuses, or does not answer.
        """
        session = self._session
        await session.topology.ensure_runs()
        everything = session.subjects.parked("*", None, "*")
        subjects = await asyncio.gather(
            *(self._subjects(stream, everything) for stream in self._streams)
        )
        keys = {session.subjects.parked_key(one) for some in subjects for one in some}
        return {key for key in keys if key.startswith(prefix)}

    async def _subjects(self, stream: str, pattern: str) -> list[str]:
        listing = list_subjects(self._session.connection, stream, pattern)
        return [subject async for subject, _ in listing]

    async def _oldest(
        self, subject: str, most: int, after: Mapping[str, int]
    ) -> list[tuple[str, StoredMessage]]:
        """Return the oldest messages of all streams, each with its stream.

        Args:
            subject: Which.
            most: How many, at most.
            after: Skip those up to a sequence, by stream.
        """
        connection = self._session.connection
        pages = await asyncio.gather(
            *(
                first_messages(connection, stream, subject, most, after=sequence)
                for stream, sequence in after.items()
            )
        )
        found = [(name, one) for name, page in zip(after, pages, strict=True) for one in page]
        if len(pages) > 1:
            found.sort(key=lambda named: named[1].at)
        return found[:most]

    async def _missed(
        self, subject: str, after: Mapping[str, int], *, must_answer: bool
    ) -> list[tuple[str, StoredMessage]]:
        """Return the oldest message of each stream that only its leader knows of.

        Args:
            subject: Which.
            after: Skip those up to a sequence, by stream.
            must_answer: Whether a leader that does not answer is an error if nothing is found.
        """
        connection = self._session.connection
        # Where there is one stream, nobody else is held up while it elects a leader.
        timeout = API_TIMEOUT if must_answer and len(after) == 1 else _LEADER_SECONDS
        answers = await asyncio.gather(
            *(
                missed_message(connection, stream, subject, timeout, after=sequence)
                for stream, sequence in after.items()
            ),
            return_exceptions=True,
        )
        found: list[tuple[str, StoredMessage]] = []
        errors: list[BaseException] = []
        for stream, answer in zip(after, answers, strict=True):
            if isinstance(answer, BaseException):
                errors.append(answer)
            elif answer is not None:
                found.append((stream, answer))
        for error in errors:
            if not isinstance(error, BrokerUnavailable) or (must_answer and not found):
                raise error
        return found

    async def _wake_all(
        self, parked: Sequence[StoredMessage], tokens: Sequence[str], *, first: bool
    ) -> int:
        if not tokens and not first:
            # Nothing is awaited before they are sent, so they are stored in this order.
            waking = [self._wake(one, None, first=first) for one in parked]
            return sum(await asyncio.gather(*waking))
        woken = 0
        # One by one: the token of one that is gone is for the next.
        for one in parked:
            token = tokens[woken] if woken < len(tokens) else None
            woken += await self._wake(one, token, first=first)
        return woken

    async def _wake(self, parked: StoredMessage, token: str | None, *, first: bool) -> bool:
        """Replace a schedule by what it would produce; False when it is gone."""
        session = self._session
        target = headers.text(parked.headers, b"Nats-Schedule-Target")
        queue, priority = level_of(target)
        run_id, sequence = last_token(parked.subject), parked.sequence
        lines = b""
        if first:
            # It has waited already: behind a backlog it would wait once more, with what it waited
            # for in its hands.
            await self._open_priority(queue, TOP_PRIORITY)
            target = session.subjects.queued(queue, TOP_PRIORITY, run_id)
            lines = headers.line(headers.PRIORITY, priority)
        # By an id of its own: what somebody else has sent is no copy of this.
        lines += headers.message_id(f"{run_id}:{sequence}:{secrets.token_hex(8)}")
        if (lost := headers.number(parked.headers, headers.LOST)) is not None:
            lines += headers.line(headers.LOST, lost)
        if token is not None:
            lines += headers.token(token)
        return await fire(session, parked, target, lines)
