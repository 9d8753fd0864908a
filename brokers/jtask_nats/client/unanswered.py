"""Messages that a stream has not answered yet: sent again until it has, or until a timeout."""

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Sequence

from jtask.errors import BrokerError, BrokerFull, BrokerUnavailable
from jtask_nats.client.answer_reader import PLACE_MARK, AnswerReader
from jtask_nats.client.callbacks import call_all, forget
from jtask_nats.client.connection import Connection
from jtask_nats.client.nats_errors import (
    ApiError,
    is_transient,
    no_answer,
    no_stream,
    not_permitted,
    not_stored,
    too_large,
)
from jtask_nats.client.pending import OnOutcome, PendingPublish, is_stored, refusal_in
from jtask_nats.client.protocol import NO_RESPONDERS, Reader, status_of
from jtask_nats.client.publish_groups import OnOutcomes, PublishGroup

RESEND_AFTER = 2.0
"""Seconds without an answer; doubled with each copy, because copies wait in the same line."""

_LAST_COPY = 1.5
"""Seconds before its time is up that a message is sent once more. The leader of a stream may have
been frozen: until there is another one, which takes up to 9 s, all copies went to that and are lost
without a word."""
_APART = 1.0  # seconds between that copy and the one before, at least
_CHECK_EVERY = 0.25  # seconds, while anything is pending
_STALLED_AFTER = 1.0  # seconds without any answer
_REFUSED_PAUSE = 0.05  # seconds after a "not now"; doubled with each copy
_LONGEST_PAUSE = 0.5  # seconds
_STORED = b""  # an answer of which nothing is to be known but that it is no error


class Unanswered:
    """What was sent and is not answered; the answers arrive under one subscription.

    On the connection's loop, except `new_token`, `address`, `add` and `forget`, which any thread
    may call.

    Args:
        connection: Where it was sent.
        timeout: Total seconds to try, for each message.

    Attributes:
        is_closed: Whether the connection is closed for good.
    """

    def __init__(self, connection: Connection, timeout: float) -> None:
        self._connection = connection
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._pending: dict[str, PendingPublish] = {}
        self._groups: dict[str, PublishGroup] = {}
        self._refused: dict[str, PendingPublish] = {}
        self._numbers = itertools.count(1)
        self._prefix = connection.new_inbox() + "."
        self._prefix_size = len(self._prefix)
        self._timer: asyncio.TimerHandle | None = None
        self._no_stream_callbacks: list[Callable[[], None]] = []
        self._full_callbacks: list[Callable[[], None]] = []
        self.is_closed = False
        self._last_token = self._seen_token = "0"
        self._seen_at = 0.0
        connection.subscribe(self._prefix + "*", self._on_answer, self._new_reader)
        connection.on_reconnect(self._resend_all)
        connection.on_denied(self._on_denied)
        connection.on_close(self._on_close)

    def __len__(self) -> int:
        return len(self._pending) + len(self._groups)

    def on_no_stream(self, callback: Callable[[], None]) -> None:
        """Call a function each time that no stream takes a message."""
        self._no_stream_callbacks.append(callback)

    def on_full(self, callback: Callable[[], None]) -> None:
        """Call a function each time that there is no room for a message."""
        self._full_callbacks.append(callback)

    def new_token(self) -> str:
        """Return what nothing else is called that is sent."""
        return str(next(self._numbers))

    def address(self, token: str) -> str:
        """Return where the answer to a message is expected."""
        return self._prefix + token

    def add(
        self, token: str, subjects: Sequence[str], command: bytes, size: int, resolve: OnOutcome
    ) -> PendingPublish:
        """Take a message before it is written: its answer may come before this thread goes on.

        Args:
            token: Its own.
            subjects: See `PendingPublish`, as the others.
            command: What goes over the wire.
            size: Of the largest part.
            resolve: Called once.

        Raises:
            BrokerUnavailable: The connection is closed for good.
        """
        deadline = time.monotonic() + self._timeout
        pending = PendingPublish(subjects, command, size, deadline, resolve)
        self._pending[token] = pending
        # After that: whoever closes the connection looks at what is pending only once.
        if self.is_closed:
            self._pending.pop(token, None)
            raise self._closed_error(pending)
        return pending

    def add_group(
        self,
        token: str,
        subjects: Sequence[str],
        headers: bytes,
        bodies: Sequence[bytes],
        resolve: OnOutcomes,
    ) -> PublishGroup:
        """Do `add` for messages that are alike; on the loop.

        Args:
            token: Of all; each has its place behind it.
            subjects: See `PublishGroup`, as the others.
            headers: Header lines of each.
            bodies: As many as there are subjects.
            resolve: Called with each place once.
        """
        deadline = time.monotonic() + self._timeout
        group = PublishGroup(subjects, headers, bodies, deadline, resolve)
        self._groups[token] = group
        return group

    def forget(self, token: str) -> None:
        """Expect no answer any more."""
        self._pending.pop(token, None)

    def watch(self) -> None:
        """Begin to send again what takes long."""
        if self._timer is None:
            self._start_timer()

    def timeout_error(self, pending: PendingPublish) -> BrokerError:
        """Return what ends a message that was not stored in time."""
        refusal, url = pending.refusal, self._connection.url
        if refusal is not None and not isinstance(refusal, ApiError):
            return refusal
        if not self._connection.is_connected:
            return no_answer(pending.subject, url, self._timeout, "not connected")
        return not_stored(pending.subject, url, self._timeout, refusal)

    def _on_answer(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        del reply
        token = subject[self._prefix_size :]
        is_plain = headers is None and is_stored(data)  # nearly all
        group, mark, place = token.partition(PLACE_MARK)
        if mark and is_plain:
            self._on_stored(group, [int(place)])
            return
        if group in self._groups:
            self._take_out(group, int(place))
        pending = self._pending.get(token)
        if pending is None:
            # To a copy: another one was answered before, or the time was up.
            return
        self._last_token = token
        if is_plain:
            self._pending.pop(token, None)
            pending.resolve(data)
            return
        refusal = self._refusal(pending, data, headers)
        if refusal is None:
            self._finish(token, pending, data)
        elif not self._retry_later(token, pending, refusal):
            self._finish(token, pending, refusal)

    def _new_reader(self, sid: bytes) -> Reader:
        return AnswerReader(self._prefix, sid, self._on_stored).read

    def _on_stored(self, token: str, places: Sequence[int]) -> None:
        """Take note that a stream has messages that were sent as a group."""
        # With a place: while the answers of one large group come, something moves.
        self._last_token = _token_of(token, places[-1])
        if (group := self._groups.get(token)) is not None:
            places = group.stored(places)
            if not group:
                # What it has called may have closed the connection.
                self._groups.pop(token, None)
        for place in places:
            if (pending := self._pending.pop(_token_of(token, place), None)) is not None:
                pending.resolve(_STORED)

    def _take_out(self, token: str, place: int) -> None:
        group = self._groups[token]
        if (pending := group.take_out(place, self.address(token))) is not None:
            self._pending[_token_of(token, place)] = pending
        if not group:
            del self._groups[token]

    def _take_all_out(self, due: float = math.inf) -> None:
        """Treat each message of the groups whose deadline is before an instant like any other."""
        for token, group in list(self._groups.items()):
            if group.deadline < due:
                for place in group.places():
                    self._take_out(token, place)

    def _refusal(
        self, pending: PendingPublish, data: bytes, headers: bytes | None
    ) -> BrokerError | None:
        if headers is not None and status_of(headers)[0] == NO_RESPONDERS:
            call_all(self._no_stream_callbacks)
            return no_stream(pending.subject, self._connection.url)
        refusal = refusal_in(data, pending.subject)
        if isinstance(refusal, BrokerFull):
            call_all(self._full_callbacks)
        return refusal

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
        # What has a later deadline is neither over nor old enough to be lost.
        due = now + max(0.0, self._timeout - RESEND_AFTER)
        self._take_all_out(due)
        # Threads add to the dictionary meanwhile: look at a copy, which is made in one step.
        for token, pending in self._pending.copy().items():
            if pending.deadline > due:
                continue
            if now >= pending.deadline:
                self._time_out(token, pending)
            elif self._seems_lost(token, pending, now):
                self._resend(pending, now)
        self._retry_refused(now)
        if self:
            self._start_timer(_REFUSED_PAUSE if self._refused else _CHECK_EVERY)

    def _note_progress(self, now: float) -> None:
        if self._last_token != self._seen_token:
            self._seen_token, self._seen_at = self._last_token, now

    def _seems_lost(self, token: str, pending: PendingPublish, now: float) -> bool:
        """Tell a lost message from one in a long line: overtaken, or nothing moves."""
        # The first copy's instant follows from the deadline, and is not kept: it is the hot path.
        since = pending.sent_at or pending.deadline - self._timeout
        last = pending.deadline - _LAST_COPY
        is_last_chance = since + _APART < last <= now
        is_old = now >= since + RESEND_AFTER * 2 ** (pending.sent - 1)
        if pending.retry_at is not None or not (is_old or is_last_chance):
            return False
        return now > self._seen_at + _STALLED_AFTER or _number(self._seen_token) > _number(token)

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
        self._take_all_out()
        limit = self._connection.max_payload
        for token, pending in self._pending.copy().items():
            # The server may be another one now, and would close the connection for this message.
            if pending.size > limit:
                self._finish(token, pending, too_large(pending.subject, pending.size, limit))
            else:
                self._resend(pending, now)

    def _time_out(self, token: str, pending: PendingPublish) -> None:
        self._finish(token, pending, self.timeout_error(pending))

    def _on_denied(self, subject: str) -> None:
        self._take_all_out()
        for token, pending in self._pending.copy().items():
            if subject in pending.subjects:
                error = not_permitted("publish to", subject, self._connection.url)
                self._finish(token, pending, error)

    def _on_close(self) -> None:
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None  # it would keep alive in whose context it was set: a run, perhaps
        self._take_all_out()
        for token, pending in self._pending.copy().items():
            self._finish(token, pending, self._closed_error(pending))
        forget(self._no_stream_callbacks, self._full_callbacks)

    def _closed_error(self, pending: PendingPublish) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"the connection to {self._connection.url} was closed before "
            f"{pending.subject} was acknowledged"
        )

    def _finish(self, token: str, pending: PendingPublish, outcome: bytes | BrokerError) -> None:
        # The thread that waits may have removed it meanwhile, when its time was up.
        self._pending.pop(token, None)
        pending.resolve(outcome)


def _token_of(group: str, place: int) -> str:
    return f"{group}{PLACE_MARK}{place}"


def _number(token: str) -> int:
    return int(token.partition(PLACE_MARK)[0])
