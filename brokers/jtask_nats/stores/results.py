"""Outcomes: the first of a run is stored, and pushed to whoever watches once it is."""

import asyncio
from collections.abc import Callable
from functools import partial

from jtask.background import BackgroundTasks
from jtask.contract import OutcomeRecord
from jtask.errors import BrokerError
from jtask.ids import CLIENT_HEX, client_of, is_run_id
from jtask_nats.client.connection import Subscription
from jtask_nats.client.direct_reads import last_message
from jtask_nats.client.headers import FIRST_ONLY
from jtask_nats.client.nats_errors import WRONG_LAST_SEQUENCE, ApiError
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import last_token

_IS_FIRST = True


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
        self._comparing = BackgroundTasks()
        self._subscriptions: set[_OutcomeSubscription] = set()
        session.connection.on_reconnect(self._notify_gap)

    def put(self, outcome: OutcomeRecord) -> asyncio.Future[bool]:
        """Store the first outcome of a run; sends at once."""
        stored: asyncio.Future[bool] = self._loop.create_future()
        self.put_then(outcome, partial(_resolve, stored))
        return stored

    def put_then(self, outcome: OutcomeRecord, done: Callable[[bool | BrokerError], None]) -> None:
        """Do `put`, and call a function on the loop with what came of it."""
        session = self._session
        subject = session.subjects.outcome(outcome.run_id)
        answered = partial(self._on_published, outcome, done)
        session.publisher.publish_then(subject, outcome.body, FIRST_ONLY, answered)

    async def get(self, run_id: str) -> OutcomeRecord | None:
        """Return a run's outcome, or None."""
        if not is_run_id(run_id):
            return None  # it could address those of others
        session = self._session
        stream = session.topology.stream_name(Stream.RESULTS)
        found = await last_message(session.connection, stream, session.subjects.outcome(run_id))
        return None if found is None else OutcomeRecord(run_id, found.body)

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
        subject = subjects.republished(target if is_client else client_of(target))
        if not is_client:
            subject = subjects.republished(client_of(target), target)

        def receive(subject: str, reply: str, data: bytes, block: bytes | None) -> None:
            del reply, block
            run_id = last_token(subject)
            if is_run_id(run_id):
                deliver(OutcomeRecord(run_id, data))

        connection = self._session.connection
        subscription = _OutcomeSubscription(
            connection.subscribe(subject, receive), on_gap, self._subscriptions
        )
        if connection.is_connected:
            # Only then is the subscription in place: what is stored from now on must not be missed.
            await connection.flush()
        return subscription

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
            self._comparing.start(self._compare(outcome, done))
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

    def _notify_gap(self) -> None:
        # A copy: a callback may close its subscription.
        for subscription in tuple(self._subscriptions):
            subscription.on_gap()


def _resolve(stored: asyncio.Future[bool], answer: bool | BrokerError) -> None:
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
        self.on_gap = on_gap
        subscriptions.add(self)

    async def close(self) -> None:
        """Stop delivering."""
        self._subscriptions.discard(self)
        self._subscription.unsubscribe()
