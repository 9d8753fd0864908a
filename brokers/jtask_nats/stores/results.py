"""Outcomes: the first of a run is stored, and pushed to whoever watches once it is."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from jtask.background import BackgroundTasks
from jtask.contract import OutcomeRecord
from jtask.errors import BrokerError
from jtask.ids import CLIENT_HEX, is_run_id
from jtask.randomness import RANDOM
from jtask_nats.client.direct_reads import find_last_message, last_message_question
from jtask_nats.client.headers import FIRST_ONLY
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.client.subscription import Subscription, take_effect
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import last_token

_log = logging.getLogger("jtask")

_IS_FIRST = True
# Seconds between two looks at an outcome that should be pushed, first and longest: what a lost push
# costs at most. For a client, all of whose runs are looked at, it is seldom.
_RUN_LOOKS = (2.0, 60.0)
_CLIENT_LOOKS = (600.0, 600.0)
_SPREAD = (0.75, 1.5)  # so that those who began to wait together do not ask together


class NatsResults:
    """A `jtask.contract.ResultStore`.

    A waiter is served by the stream's republished message. After a reconnect `on_gap` is
    called: one may have been missed.

    Args:
        session: To the server.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._background = BackgroundTasks()
        self._subscriptions: set[_OutcomeSubscription] = set()
        session.connection.on_reconnect(self._notify_gap)

    def put(self, outcome: OutcomeRecord) -> asyncio.Future[bool]:
        """Store the first outcome of a run; sends at once."""
        stored: asyncio.Future[bool] = self._loop.create_future()
        self.put_many([outcome.run_id], [outcome.body], partial(_resolve, stored))
        return stored

    def put_many(
        self,
        run_ids: Sequence[str],
        bodies: Sequence[bytes],
        done: Callable[[Sequence[int], bool | BrokerError], None],
    ) -> None:
        """Do `put` with many outcomes, and call a function on the loop with what came of each."""
        session = self._session
        subjects = [*map(session.subjects.outcome, run_ids)]
        answered = partial(self._on_many_published, run_ids, bodies, done)
        session.publisher.publish_each_then(subjects, FIRST_ONLY, bodies, answered)

    def put_from_thread(
        self, outcome: OutcomeRecord, done: Callable[[bool | BrokerError], None]
    ) -> None:
        """Do `put` from any thread but the loop's, where a function is called with the answer."""
        session = self._session
        subject = session.subjects.outcome(outcome.run_id)
        answered = partial(self._on_published, outcome, done)
        session.publisher.send_from_thread(subject, outcome.body, FIRST_ONLY, answered)

    async def get(self, run_id: str) -> OutcomeRecord | None:
        """Return a run's outcome, or None."""
        if not is_run_id(run_id):
            return None  # it could address those of others
        session = self._session
        stream = session.topology.stream_name(Stream.RESULTS)
        subject = session.subjects.outcome(run_id)
        # Our subscription is with the leader as a rule before that is asked: what it stores later
        # is pushed. They go by two connections between servers, though (API requests have one of
        # their own), and the question may come first; what is stored just then is found by the next
        # look.
        found = await find_last_message(session.connection, stream, subject)
        return None if found is None else OutcomeRecord(run_id, found.body)

    def get_from_thread(self, run_id: str, seconds: float) -> OutcomeRecord | None:
        """Wait for an outcome for a moment, in any thread but the loop's.

        Args:
            run_id: The run.
            seconds: How long.

        Returns:
            OutcomeRecord | None: None when nothing is known: `watch`, and `get` it.
        """
        links = self._session.publisher.blocking_links
        body = links.await_message(*self._pushed_or_asked(run_id), seconds)
        return None if body is None else OutcomeRecord(run_id, body)

    async def get_from_loop(self, run_id: str, seconds: float) -> OutcomeRecord | None:
        """Do what `get_from_thread` does on any loop but the broker's, without blocking it.

        Args:
            run_id: The run.
            seconds: How long.
        """
        links = self._session.publisher.loop_links
        awaiting = links.await_message(*self._pushed_or_asked(run_id), seconds)
        body = None if awaiting is None else await awaiting
        return None if body is None else OutcomeRecord(run_id, body)

    def _pushed_or_asked(self, run_id: str) -> tuple[str, Callable[[], tuple[str, bytes]]]:
        """Return where an outcome is pushed, and what makes the question for one pushed before."""
        return self._session.subjects.pushed(run_id), partial(self._question, run_id)

    def _question(self, run_id: str) -> tuple[str, bytes]:
        """Return how to ask for an outcome that was stored before."""
        session = self._session
        stream = session.topology.stream_name(Stream.RESULTS)
        return last_message_question(stream, session.subjects.outcome(run_id))

    async def watch(
        self, target: str, deliver: Callable[[OutcomeRecord], None], on_gap: Callable[[], None]
    ) -> "_OutcomeSubscription":
        """Push the outcomes of a run or of a client's runs.

        Args:
            target: Id of a run or of a client.
            deliver: Called with each outcome, on the loop.
            on_gap: Called when some may have been missed: read them again.
        """
        subjects = self._session.subjects
        is_client = len(target) == CLIENT_HEX
        subject = subjects.republished(target) if is_client else subjects.pushed(target)

        def receive(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
            del reply, block
            run_id = last_token(subject)
            if is_run_id(run_id):
                deliver(OutcomeRecord(run_id, data))

        connection = self._session.connection
        subscription = _OutcomeSubscription(
            connection.subscribe(subject, receive), on_gap, self._subscriptions
        )
        look = on_gap if is_client else partial(self._look, target, deliver)
        subscription.look_again(look, *(_CLIENT_LOOKS if is_client else _RUN_LOOKS))
        # What is stored from now on must not be missed.
        await take_effect(connection, subscription.end)
        return subscription

    def close(self) -> None:
        """Look for nothing any more: a timer would hold the broker for as long as it runs."""
        for subscription in tuple(self._subscriptions):
            subscription.end()

    def _on_many_published(
        self,
        run_ids: Sequence[str],
        bodies: Sequence[bytes],
        done: Callable[[Sequence[int], bool | BrokerError], None],
        places: Sequence[int],
        error: BrokerError | None,
    ) -> None:
        if error is None:
            done(places, _IS_FIRST)
            return
        for place in places:
            outcome = OutcomeRecord(run_ids[place], bodies[place])
            self._on_published(outcome, partial(done, (place,)), error)

    def _on_published(
        self,
        outcome: OutcomeRecord,
        done: Callable[[bool | BrokerError], None],
        answer: bytes | BrokerError,
    ) -> None:
        if isinstance(answer, bytes):
            done(_IS_FIRST)
        elif isinstance(answer, ApiError) and answer.err_code == WRONG_LAST_SEQUENCE:
            # Outcomes carry no message id: a copy of this one may be what came first.
            self._background.start(self._compare(outcome, done))
        else:
            done(answer)

    async def _compare(
        self, outcome: OutcomeRecord, done: Callable[[bool | BrokerError], None]
    ) -> None:
        """Tell whether what came first is another outcome, or this one sent a second time."""
        try:
            first = await self.get(outcome.run_id)
        except BrokerError as error:
            done(error)
        else:
            done(first is not None and first.body == outcome.body)

    def _look(self, run_id: str, deliver: Callable[[OutcomeRecord], None]) -> None:
        self._background.start(self._find(run_id, deliver))

    async def _find(self, run_id: str, deliver: Callable[[OutcomeRecord], None]) -> None:
        try:
            found = await self.get(run_id)
        except BrokerError as error:
            _log.debug("the outcome of run %s cannot be looked up now: %s", run_id, error)
        else:
            if found is not None:
                deliver(found)

    def _notify_gap(self) -> None:
        # A copy: a callback may close its subscription.
        for subscription in tuple(self._subscriptions):
            subscription.on_gap()


def _resolve(
    stored: asyncio.Future[bool], places: Sequence[int], answer: bool | BrokerError
) -> None:
    del places  # of the only one
    if stored.done():
        return
    if isinstance(answer, BrokerError):
        stored.set_exception(answer)
    else:
        stored.set_result(answer)


class _OutcomeSubscription:
    def __init__(
        self,
        subscription: Subscription,
        on_gap: Callable[[], None],
        subscriptions: "set[_OutcomeSubscription]",
    ) -> None:
        self._subscription = subscription
        self._subscriptions = subscriptions
        self._timer: asyncio.TimerHandle | None = None
        self.on_gap = on_gap
        subscriptions.add(self)

    def look_again(self, look: Callable[[], None], pause: float, longest: float) -> None:
        """Call a function after a pause, and again after twice as long, up to a limit."""

        def due() -> None:
            self.look_again(look, min(2 * pause, longest), longest)
            look()

        delay = pause * RANDOM.uniform(*_SPREAD)
        self._timer = asyncio.get_running_loop().call_later(delay, due)

    async def close(self) -> None:
        """Stop delivering."""
        self.end()

    def end(self) -> None:
        """Do `close`, which has nothing to await."""
        if self._timer is not None:
            self._timer.cancel()
        self._subscriptions.discard(self)
        self._subscription.unsubscribe()
