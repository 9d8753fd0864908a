"""Publish to JetStream streams: pipelined, in atomic batches, or from any thread."""

import asyncio
import concurrent.futures
import itertools
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from jtask.errors import BrokerError, BrokerUnavailable
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
from jtask_nats.client.nats_errors import (
    DUPLICATE_IN_BATCH,
    ApiError,
    is_transient,
    no_answer,
    no_stream,
    not_permitted,
    too_large,
)
from jtask_nats.client.pending import (
    BlockingOutcome,
    OnOutcome,
    PendingPublish,
    PubAck,
    is_stored,
    read_ack,
    refusal_in,
    resolve_elsewhere,
    resolve_future,
)
from jtask_nats.client.protocol import publish_command, status_of

__all__ = ["BATCH_LIMIT", "PubAck", "Publisher"]

_CHECK_EVERY = 0.25  # seconds, while anything is pending
# Seconds without an answer; doubled with each copy, because copies wait in the same line.
_RESEND_AFTER = 2.0
_STALLED_AFTER = 1.0  # seconds without any answer
_REFUSED_PAUSE = 0.05  # seconds after a "not now"; doubled with each copy
_LONGEST_PAUSE = 0.5  # seconds
_GRACE = 2.0  # seconds that a thread gives the loop to time it out
# From the loop, and as many from threads; of 50 that a stream allows all publishers (ADR-50).
_BATCHES_IN_FLIGHT = 16
_NO_RESPONDERS = 503


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
        self._pending: dict[str, PendingPublish] = {}
        self._refused: dict[str, PendingPublish] = {}
        self._numbers = itertools.count(1)
        self._prefix = connection.new_inbox() + "."
        self._prefix_size = len(self._prefix)
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._last_token = self._seen_token = "0"
        self._seen_at = 0.0
        self._batches = asyncio.Semaphore(_BATCHES_IN_FLIGHT)
        self._begun = threading.Semaphore(_BATCHES_IN_FLIGHT)
        supply = LinkSupply(connection, timeout=min(timeout, _RESEND_AFTER), limit=links)
        self.blocking_links = BlockingLinks(supply)
        self.loop_links = LoopLinks(supply)
        connection.subscribe(self._prefix + "*", self._on_answer)
        connection.on_reconnect(self._resend_all)
        connection.on_denied(self._on_denied)
        connection.on_close(self._on_close)

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
        token = str(next(self._numbers))
        command = publish_command(subject, self._prefix + token, headers, body)
        deadline = time.monotonic() + self._timeout
        pending = PendingPublish((subject,), command, size, deadline, resolve)
        if self._is_closed:
            resolve(self._closed_error(pending))
            return
        self._pending[token] = pending
        self._connection.write(command)
        if self._timer is None:
            self._timer = self._loop.call_later(_CHECK_EVERY, self._check)

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
        self._start_timer()
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
        token = str(next(self._numbers))
        command = publish_command(subject, self._prefix + token, headers, body)
        answer = BlockingOutcome()
        pending = PendingPublish((subject,), command, size, deadline, answer.resolve)
        # Before it is written: the loop may read the answer before this thread runs again.
        self._pending[token] = pending
        try:
            # After that: whoever closes the publisher looks at what is pending only once.
            if self._is_closed:
                raise self._closed_error(pending)
            # More than one: the loop joins their commands, which beats a system call for each.
            alone = len(self._pending) == 1
            self._connection.write_from_thread(command, direct=alone)
            self._block(answer, deadline)
        finally:
            self._pending.pop(token, None)
        outcome = answer.outcome
        if isinstance(outcome, bytes):
            return read_ack(outcome)
        raise outcome or self._timeout_error(pending)

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
        token = str(next(self._numbers))
        command = publish_command(subject, self._prefix + token, headers, body)
        deadline = time.monotonic() + self._timeout
        pending = PendingPublish((subject,), command, size, deadline, resolve)
        # In this order, see `publish_from_thread`.
        self._pending[token] = pending
        if self._is_closed:
            self._pending.pop(token, None)
            raise self._closed_error(pending)
        self._connection.write_from_thread(command, direct=True)
        self._connection.call_from_thread(self._start_timer)

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
        if answer.wait(min(_RESEND_AFTER, self._timeout)):
            return
        while time.monotonic() < deadline + _GRACE:
            self._connection.call_from_thread(self._start_timer)
            if answer.wait(_RESEND_AFTER):
                return

    def _begin_batch(self, batch: AtomicBatch, write: Callable[[bytes], None]) -> _BegunBatch:
        if batch.size > (limit := self._connection.max_payload):
            raise too_large(batch.largest, batch.size, limit)
        token = str(next(self._numbers))
        command = batch.command(self._prefix + token)
        deadline = time.monotonic() + self._timeout
        stored: asyncio.Future[PubAck] = self._loop.create_future()
        resolve = partial(resolve_future, stored)
        pending = PendingPublish(batch.messages.subjects, command, batch.size, deadline, resolve)
        # Before it is written and the end is looked at, for the reasons of `publish_from_thread`.
        self._pending[token] = pending
        try:
            if self._is_closed:
                raise self._closed_error(pending)
            write(command)
        except BaseException:
            self._pending.pop(token, None)
            raise
        return _BegunBatch(stored, pending)

    def _on_answer(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        del reply
        token = subject[self._prefix_size :]
        pending = self._pending.get(token)
        if pending is None:
            # To a copy: another one was answered before, or the time was up.
            return
        self._last_token = token
        if headers is None and is_stored(data):  # nearly all
            self._pending.pop(token, None)
            pending.resolve(data)
            return
        refusal = self._refusal(pending, data, headers)
        if refusal is None:
            self._finish(token, pending, data)
        elif not self._retry_later(token, pending, refusal):
            self._finish(token, pending, refusal)

    def _refusal(
        self, pending: PendingPublish, data: bytes, headers: bytes | None
    ) -> BrokerError | None:
        if headers is not None and status_of(headers)[0] == _NO_RESPONDERS:
            return no_stream(pending.subject, self._connection.url)
        return refusal_in(data, pending.subject)

    def _retry_later(self, token: str, pending: PendingPublish, refusal: BrokerError) -> bool:
        """Send again in a moment what was refused only for now."""
        if not is_transient(refusal):
            return False
        pause = min(_REFUSED_PAUSE * 2 ** (pending.sent - 1), _LONGEST_PAUSE)
        pending.retry_at = time.monotonic() + pause
        pending.refusal = refusal
        self._refused[token] = pending
        self._start_timer(_REFUSED_PAUSE)
        return True

    def _start_timer(self, delay: float = _CHECK_EVERY) -> None:
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + delay:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(delay, self._check)

    def _check(self) -> None:
        """Send again what is due, fail what is over; runs while anything is pending."""
        self._timer = None
        now = time.monotonic()
        self._note_progress(now)
        # Threads add to the dictionary meanwhile: look at a copy, which is made in one step.
        for token, pending in self._pending.copy().items():
            if now >= pending.deadline:
                self._time_out(token, pending)
            elif now < pending.deadline - self._timeout + _RESEND_AFTER:
                break  # the others are younger still
            elif self._seems_lost(token, pending, now):
                self._resend(pending, now)
        self._retry_refused(now)
        if self._pending:
            self._start_timer(_REFUSED_PAUSE if self._refused else _CHECK_EVERY)

    def _note_progress(self, now: float) -> None:
        if self._last_token != self._seen_token:
            self._seen_token, self._seen_at = self._last_token, now

    def _seems_lost(self, token: str, pending: PendingPublish, now: float) -> bool:
        """Tell a lost message from one in a long line: overtaken, or nothing moves."""
        # The first copy's instant follows from the deadline, and is not kept: it is the hot path.
        since = pending.sent_at or pending.deadline - self._timeout
        if pending.retry_at is not None or now < since + _RESEND_AFTER * 2 ** (pending.sent - 1):
            return False
        return now > self._seen_at + _STALLED_AFTER or int(self._seen_token) > int(token)

    def _retry_refused(self, now: float) -> None:
        for token, pending in list(self._refused.items()):
            if token not in self._pending:
                del self._refused[token]
            elif pending.retry_at is None or now >= pending.retry_at:
                del self._refused[token]
                self._resend(pending, now)

    def _resend(self, pending: PendingPublish, now: float) -> None:
        pending.sent += 1
        pending.sent_at = now
        pending.retry_at = None
        self._connection.write(pending.command)

    def _resend_all(self) -> None:
        now = time.monotonic()
        self._refused.clear()
        limit = self._connection.max_payload
        for token, pending in self._pending.copy().items():
            # The server may be another one now, and would close the connection for this message.
            if pending.size > limit:
                self._finish(token, pending, too_large(pending.subject, pending.size, limit))
            else:
                self._resend(pending, now)

    def _time_out(self, token: str, pending: PendingPublish) -> None:
        self._finish(token, pending, pending.refusal or self._timeout_error(pending))

    def _timeout_error(self, pending: PendingPublish) -> BrokerUnavailable:
        state = "connected" if self._connection.is_connected else "not connected"
        return no_answer(pending.subject, self._connection.url, self._timeout, state)

    def _on_denied(self, subject: str) -> None:
        for token, pending in self._pending.copy().items():
            if subject in pending.subjects:
                error = not_permitted("publish to", subject, self._connection.url)
                self._finish(token, pending, error)

    def _on_close(self) -> None:
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for token, pending in self._pending.copy().items():
            self._finish(token, pending, self._closed_error(pending))

    def _closed_error(self, pending: PendingPublish) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"the connection to {self._connection.url} was closed before "
            f"{pending.subject} was acknowledged"
        )

    def _finish(self, token: str, pending: PendingPublish, outcome: bytes | BrokerError) -> None:
        # The thread that waits may have removed it meanwhile, when its time was up.
        self._pending.pop(token, None)
        pending.resolve(outcome)
