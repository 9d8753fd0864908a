"""Publish to JetStream streams: pipelined, in atomic batches, or from any thread."""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from jtask.errors import BrokerError
from jtask_nats.client.batches import (
    BATCH_LIMIT,
    AtomicBatch,
    BatchMessage,
    BatchMessages,
    are_subjects,
)
from jtask_nats.client.blocking_links import BlockingLinks
from jtask_nats.client.connection import Connection
from jtask_nats.client.link_supply import LinkSupply
from jtask_nats.client.loop_links import LoopLinks
from jtask_nats.client.nats_errors import DUPLICATE_IN_BATCH, ApiError, too_large
from jtask_nats.client.pending import (
    BlockingOutcome,
    OnOutcome,
    PendingPublish,
    PubAck,
    read_ack,
    resolve_elsewhere,
    resolve_future,
)
from jtask_nats.client.protocol import message_size, publish_command
from jtask_nats.client.publish_groups import OnOutcomes
from jtask_nats.client.unanswered import RESEND_AFTER, Unanswered

__all__ = ["BATCH_LIMIT", "PubAck", "Publisher"]

_GRACE = 2.0  # seconds that a thread gives the loop to time it out
# From the loop, and as many from threads; of 50 that a stream allows all publishers (ADR-50).
_BATCHES_IN_FLIGHT = 16


class _BegunBatch(NamedTuple):
    stored: "asyncio.Future[PubAck]"
    pending: PendingPublish


class Publisher:
    """Publish with acknowledgement, trying again until a timeout.

    What got no answer is sent again: after a reconnect, when the stream has no leader yet, when
    messages sent later were answered or nothing is answered at all. So every message MUST carry a
    Nats-Msg-Id or an expected sequence, else it may be stored twice.

    Args:
        connection: Where to publish.
        timeout: Total seconds to try, for each message.
        links: How many connections threads and event loops may have of their own.

    Attributes:
        blocking_links: Those of threads.
        loop_links: Those of event loops.
    """

    def __init__(self, connection: Connection, *, timeout: float, links: int = 0) -> None:
        self._connection = connection
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._unanswered = Unanswered(connection, timeout)
        self._batches = asyncio.Semaphore(_BATCHES_IN_FLIGHT)
        self._begun = threading.Semaphore(_BATCHES_IN_FLIGHT)
        supply = LinkSupply(connection, timeout=min(timeout, RESEND_AFTER), limit=links)
        self.blocking_links = BlockingLinks(supply)
        self.loop_links = LoopLinks(supply)

    @property
    def is_closed(self) -> bool:
        """Whether the connection is closed for good."""
        return self._unanswered.is_closed

    def on_no_stream(self, callback: Callable[[], None]) -> None:
        """Call a function on the loop each time that no stream takes a message; it is sent again.

        Somebody has removed the stream, or it has no leader just now.
        """
        self._unanswered.on_no_stream(callback)

    def on_full(self, callback: Callable[[], None]) -> None:
        """Call a function on the loop each time that a server has no room for a message."""
        self._unanswered.on_full(callback)

    def publish(self, subject: str, body: bytes, headers: bytes = b"") -> asyncio.Future[PubAck]:
        """Publish a message; any number may be in flight.

        Args:
            subject: One that a stream captures.
            body: The message.
            headers: Header lines, each with its line end; a Nats-Msg-Id or an expected sequence
                among them. With an expected sequence alone, the error 10071 may be due to an
                earlier copy of the same message.

        Returns:
            asyncio.Future[PubAck]: Raises ApiError (with its `err_code`), BrokerFull,
            BrokerUnavailable, PermissionDenied, or BrokerError for what is too large.
        """
        future: asyncio.Future[PubAck] = self._loop.create_future()
        self.publish_then(subject, body, headers, partial(resolve_future, future))
        return future

    def publish_then(self, subject: str, body: bytes, headers: bytes, resolve: OnOutcome) -> None:
        """Do `publish`, and call a function with the answer or the error.

        Args:
            subject: As for `publish`; likewise the next two.
            body: The message.
            headers: Header lines.
            resolve: Called on the loop; with an error perhaps before this returns.
        """
        try:
            size = self._connection.check(subject, headers, body)
        except BrokerError as error:
            resolve(error)
            return
        unanswered = self._unanswered
        token = unanswered.new_token()
        command = publish_command(subject, unanswered.address(token), headers, body)
        try:
            unanswered.add(token, (subject,), command, size, resolve)
        except BrokerError as error:
            resolve(error)
            return
        self._connection.write(command)
        unanswered.watch()

    def publish_each_then(
        self, subjects: Sequence[str], headers: bytes, bodies: Sequence[bytes], resolve: OnOutcomes
    ) -> None:
        """Do `publish_then` with messages that are alike, each of which is answered by itself.

        Args:
            subjects: Where they go.
            headers: Header lines of each, see `publish`.
            bodies: As many as there are subjects.
            resolve: Called on the loop with the places of some of them, and with None when they are
                stored or with the error; with each place once, perhaps before this returns.
        """
        unanswered = self._unanswered
        if unanswered.is_closed or not self._fit(subjects, headers, bodies):
            for place, (subject, body) in enumerate(zip(subjects, bodies, strict=True)):
                self.publish_then(subject, body, headers, partial(_resolve_one, resolve, place))
            return
        token = unanswered.new_token()
        group = unanswered.add_group(token, subjects, headers, bodies, resolve)
        self._connection.write(group.command(unanswered.address(token)))
        unanswered.watch()

    def _fit(self, subjects: Sequence[str], headers: bytes, bodies: Sequence[bytes]) -> bool:
        largest = message_size(headers, max(bodies, key=len))
        return largest <= self._connection.max_payload and are_subjects(subjects)

    async def publish_batch(self, messages: Sequence[BatchMessage]) -> None:
        """Publish 1 to 1000 messages to one stream, all or none.

        Args:
            messages: Subject, header lines with a Nats-Msg-Id, and body of each.

        Raises:
            ApiError: Refused; 10201 when one of the ids is stored already.
            BrokerFull: No room.
            BrokerUnavailable: No answer in time.
            PermissionDenied: One of the subjects may not be published to.
            BrokerError: One is too large; nothing was sent.
        """
        if len(messages) == 1:
            await self.publish_each(messages)
            return
        await self.publish_prepared(self.prepare_batch(BatchMessages.of(messages)))

    def prepare_batch(self, messages: BatchMessages) -> AtomicBatch:
        """Do what has to be done before 2 to 1000 messages are sent all or none; in any thread.

        Args:
            messages: As for `publish_batch`, by column.

        Raises:
            BrokerError: They are too few or too many, or a subject is none.
        """
        batch = AtomicBatch(messages)
        if not are_subjects(batch.messages.subjects):
            for subject in batch.messages.subjects:
                self._connection.check(subject, b"", b"")
        return batch

    async def publish_prepared(self, batch: AtomicBatch) -> None:
        """Publish what `prepare_batch` has returned; raises as `publish_batch` does."""
        async with self._batches:
            await self._ended(batch, self._begin_batch(batch, self._connection.write))

    def begin_from_thread(self, batch: AtomicBatch) -> Callable[[], Awaitable[None]] | None:
        """Begin `publish_prepared` in any thread but the loop's: it is sent on return.

        Args:
            batch: What `prepare_batch` has returned.

        Returns:
            Callable | None: A coroutine function, to be called on the loop, that does the rest and
            raises as `publish_batch` does; None when so many are on the way that nothing was sent.

        Raises:
            BrokerError: One of the messages is too large; or this is a forked child.
        """
        if not self._begun.acquire(blocking=False):
            return None
        # However large: the loop would copy it once more, and be late while threads compute.
        write = partial(self._connection.write_from_thread, direct=True)
        try:
            begun = self._begin_batch(batch, write)
        except BaseException:
            self._begun.release()
            raise
        return partial(self._end_begun, batch, begun)

    async def _end_begun(self, batch: AtomicBatch, begun: _BegunBatch) -> None:
        try:
            await self._ended(batch, begun)
        finally:
            self._begun.release()

    async def _ended(self, batch: AtomicBatch, begun: _BegunBatch) -> None:
        self._unanswered.watch()
        try:
            await begun.stored
        except ApiError as error:
            if error.err_code != DUPLICATE_IN_BATCH or begun.pending.sent == 1:
                raise
            # The copy before was stored and its answer lost; each message proves it.
            await self.publish_each(batch.messages)

    async def publish_each(self, messages: Iterable[BatchMessage]) -> None:
        """Publish messages on their own: those of a batch of which some are stored already."""
        await asyncio.gather(*(self.publish(s, body, lines) for s, lines, body in messages))

    def publish_from_thread(
        self, subject: str, body: bytes, headers: bytes = b"", followed_at: str = ""
    ) -> PubAck:
        """Do `publish` from any thread but the loop's, blocking it.

        The quick way first: on a connection of its own the thread reads the answer itself, and no
        other one has to be woken. Whatever goes wrong there is left to the way by the loop, on
        which the thread, with nothing else in flight, itself writes to the socket.

        Args:
            subject: As for `publish`; likewise the next two.
            body: The message.
            headers: Header lines.
            followed_at: See `BlockingLink.publish`.

        Raises:
            BrokerError: As the future of `publish` does.
        """
        size = self._connection.check(subject, headers, body)
        deadline = time.monotonic() + self._timeout
        answered = self.blocking_links.publish(subject, headers, body, followed_at)
        if answered is not None:
            return read_ack(answered)
        unanswered = self._unanswered
        token = unanswered.new_token()
        command = publish_command(subject, unanswered.address(token), headers, body)
        answer = BlockingOutcome()
        pending = unanswered.add(token, (subject,), command, size, answer.resolve)
        # What the quick way took is of the same time.
        pending.deadline, pending.sent_at = deadline, time.monotonic()
        try:
            # More than one: the loop joins their commands, which beats a system call for each.
            alone = len(unanswered) == 1
            self._connection.write_from_thread(command, direct=alone)
            self._block(answer, deadline)
        finally:
            unanswered.forget(token)
        outcome = answer.outcome
        if isinstance(outcome, bytes):
            return read_ack(outcome)
        raise outcome or unanswered.timeout_error(pending)

    def send_from_thread(
        self, subject: str, body: bytes, headers: bytes, resolve: OnOutcome
    ) -> None:
        """Do `publish_then` from a thread that is not the loop's: it writes, the loop reads.

        Args:
            subject: As for `publish`; likewise the next two.
            body: The message.
            headers: Header lines.
            resolve: Called on the loop.

        Raises:
            BrokerError: It is too large, or the connection is closed.
        """
        size = self._connection.check(subject, headers, body)
        unanswered = self._unanswered
        token = unanswered.new_token()
        command = publish_command(subject, unanswered.address(token), headers, body)
        unanswered.add(token, (subject,), command, size, resolve)
        self._connection.write_from_thread(command, direct=True)
        self._connection.call_from_thread(unanswered.watch)

    async def publish_from_loop(
        self, subject: str, body: bytes, headers: bytes = b"", followed_at: str = ""
    ) -> PubAck:
        """Do `publish` from any loop but the one that the publisher is on.

        As `publish_from_thread` does, the quick way first.

        Args:
            subject: As for `publish`; likewise the next two.
            body: The message.
            headers: Header lines.
            followed_at: See `BlockingLink.publish`.

        Raises:
            BrokerError: As the future of `publish` does.
        """
        self._connection.check(subject, headers, body)
        answering = self.loop_links.publish(subject, headers, body, followed_at)
        if answering is not None and (answered := await answering) is not None:
            return read_ack(answered)
        common: concurrent.futures.Future[PubAck] = concurrent.futures.Future()
        resolve = partial(resolve_elsewhere, common)
        self._connection.call_from_thread(self.publish_then, subject, body, headers, resolve)
        return await asyncio.wrap_future(common)

    def _block(self, answer: BlockingOutcome, deadline: float) -> None:
        """Wait for the answer; start the timer that sends again only when it takes long."""
        if answer.wait(min(RESEND_AFTER, self._timeout)):
            return
        while time.monotonic() < deadline + _GRACE:
            self._connection.call_from_thread(self._unanswered.watch)
            if answer.wait(RESEND_AFTER):
                return

    def _begin_batch(self, batch: AtomicBatch, write: Callable[[bytes], None]) -> _BegunBatch:
        if batch.size > (limit := self._connection.max_payload):
            raise too_large(batch.largest, batch.size, limit)
        unanswered = self._unanswered
        token = unanswered.new_token()
        command = batch.command(unanswered.address(token))
        stored: asyncio.Future[PubAck] = self._loop.create_future()
        resolve = partial(resolve_future, stored)
        subjects = batch.messages.subjects
        pending = unanswered.add(token, subjects, command, batch.size, resolve)
        try:
            write(command)
        except BaseException:
            unanswered.forget(token)
            raise
        return _BegunBatch(stored, pending)


def _resolve_one(resolve: OnOutcomes, place: int, outcome: bytes | BrokerError) -> None:
    resolve((place,), outcome if isinstance(outcome, BrokerError) else None)
