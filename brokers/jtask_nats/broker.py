"""The broker on NATS JetStream: one connection, and a part for each protocol of the contract."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence

from jtask.contract import (
    DeadLetter,
    Delivery,
    Event,
    Message,
    OutcomeRecord,
    QueueInfo,
    Record,
    WaitingRun,
    Watch,
)
from jtask.errors import BrokerError, JTaskError
from jtask.settings import Settings
from jtask_nats.client.connection import Connection
from jtask_nats.client.publisher import Publisher
from jtask_nats.queues.consumption import NatsConsumption
from jtask_nats.queues.enqueue import NatsRuns
from jtask_nats.queues.lease_guard import GuardAccess
from jtask_nats.queues.leases import Leases
from jtask_nats.queues.queue_states import NatsQueues
from jtask_nats.queues.waiting_runs import NatsWaitingRuns
from jtask_nats.stores.blobs import NatsBlobs
from jtask_nats.stores.control import NatsControl
from jtask_nats.stores.coordinator import NatsCoordinator
from jtask_nats.stores.dead_letters import NatsDeadLetters
from jtask_nats.stores.event_log import NatsEventLog
from jtask_nats.stores.presence import NatsPresence
from jtask_nats.stores.records import NatsRecords
from jtask_nats.stores.results import NatsResults
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import Subjects
from jtask_nats.streams.topology import Topology

_log = logging.getLogger("jtask")

EVERYTHING = (Stream.RUNS, Stream.RESULTS, Stream.EVENTS)
OUTCOMES = (Stream.RESULTS,)


class NatsBroker:
    """A `jtask.contract.FullBroker` with `ThreadEnqueue`. Made by `open`.

    Args:
        connection: To the server; closed with the broker.
        client: This process's client id.
        settings: Namespace, times, replicas.
        access: How the lease guard reaches the server.
        streams: Those published to without asking first whether they are there.
    """

    def __init__(
        self,
        connection: Connection,
        client: str,
        settings: Settings,
        access: GuardAccess,
        streams: Sequence[Stream] = EVERYTHING,
    ) -> None:
        subjects = Subjects(settings.namespace)
        self._streams = streams
        self._connection = connection
        self._topology = Topology(connection, subjects, settings)
        publisher = Publisher(connection, timeout=settings.enqueue_timeout)
        session = Session(connection, publisher, subjects, self._topology, settings, client)
        self._session = session
        self._leases = Leases(connection, settings.lease, access)
        self._runs = NatsRuns(session)
        self._results = NatsResults(session)
        self._events = NatsEventLog(session)
        self._blobs = NatsBlobs(session)
        self._coordinator = NatsCoordinator(session)
        self._dead_letters = NatsDeadLetters(session)
        self._presence = NatsPresence(session)
        self._control = NatsControl(session)
        self._records = NatsRecords(session)
        self._queues = NatsQueues(session)
        self._waiting_runs = NatsWaitingRuns(session)
        self._consumptions: set[NatsConsumption] = set()
        self._restore_task: asyncio.Task[None] | None = None
        connection.on_disconnect(self._on_disconnect)
        connection.on_reconnect(self._on_reconnect)
        connection.on_denied(self._on_denied)

    @classmethod
    async def open(
        cls,
        connection: Connection,
        client: str,
        settings: Settings,
        access: GuardAccess,
        streams: Sequence[Stream] = EVERYTHING,
    ) -> "NatsBroker":
        """Put the streams in place that are written to without waiting.

        Raises:
            ConfigurationError: They cannot be what jtask needs.
            BrokerError: The server refuses, or does not answer.
        """
        broker = cls(connection, client, settings, access, streams)
        try:
            await broker._topology.ensure(*streams)
        except BaseException:
            await broker.close()
            raise
        return broker

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._connection.url

    @property
    def inline_limit(self) -> int:
        """The largest body of a run or an outcome, in bytes."""
        return self._session.inline_limit

    async def enqueue(self, messages: Sequence[Message]) -> None:
        """Store messages; see `jtask.contract.Broker`."""
        await self._runs.enqueue(messages)

    def enqueue_from_thread(self, message: Message) -> None:
        """Store one message from any thread but the loop's, blocking it."""
        self._runs.enqueue_from_thread(message)

    async def consume(
        self, queues: Sequence[str], credit: int, receive: Callable[[Delivery], None]
    ) -> NatsConsumption:
        """Deliver runs of some queues; see `jtask.contract.Broker`."""
        consumption = NatsConsumption(self._session, self._leases, credit, receive)
        self._consumptions.add(consumption)
        try:
            await consumption.open(queues)
        except BaseException:
            self._consumptions.discard(consumption)
            await consumption.close()
            raise
        return consumption

    async def cancel(self, run_id: str) -> bool:
        """Take a waiting or delayed run off its queue; False when none is waiting."""
        return await self._runs.cancel(run_id)

    async def depth(self, queue: str) -> int:
        """Count the runs of a queue that wait or are being executed."""
        return await self._runs.depth(queue)

    async def close(self) -> None:
        """Send what is still buffered, then let go of the connection."""
        if self._restore_task is not None:
            self._restore_task.cancel()
            await asyncio.wait([self._restore_task])
        for consumption in self._consumptions:
            await consumption.close()
        self._consumptions.clear()
        await self._leases.close()
        await self._connection.close()

    def put(self, outcome: OutcomeRecord) -> asyncio.Future[bool]:
        """Store the first outcome of a run; see `jtask.contract.ResultStore`."""
        return self._results.put(outcome)

    def put_then(self, outcome: OutcomeRecord, done: Callable[[bool | BrokerError], None]) -> None:
        """Do `put`, and call a function on the loop with what came of it."""
        self._results.put_then(outcome, done)

    async def get(self, run_id: str) -> OutcomeRecord | None:
        """Return a run's outcome, or None when there is none yet or no more."""
        return await self._results.get(run_id)

    async def watch(
        self, target: str, deliver: Callable[[OutcomeRecord], None], gap: Callable[[], None]
    ) -> Watch:
        """Push outcomes as they are stored; see `jtask.contract.ResultStore`."""
        return await self._results.watch(target, deliver, gap)

    def append(self, events: Sequence[Event]) -> None:
        """Send a batch of events; fire and forget."""
        self._events.append(events)

    def read(self, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read events back, oldest first, up to now."""
        return self._events.read(since=since)

    def follow(self) -> AsyncIterator[Event]:
        """Yield events as they arrive, from now on, for ever."""
        return self._events.follow()

    async def put_blob(self, key: str, data: bytes) -> None:
        """Store a blob under a key."""
        await self._blobs.put_blob(key, data)

    async def get_blob(self, key: str) -> bytes | None:
        """Return a blob, or None when it is not there."""
        return await self._blobs.get_blob(key)

    async def delete_blob(self, key: str) -> None:
        """Forget a blob."""
        await self._blobs.delete_blob(key)

    async def add(self, key: str, amount: int = 1) -> int:
        """Add to a counter and return its new value."""
        return await self._coordinator.add(key, amount)

    async def acquire(self, name: str, holder: str, limit: int, lease: float) -> bool:
        """Take or renew a slot; see `jtask.contract.Coordinator`."""
        return await self._coordinator.acquire(name, holder, limit, lease)

    async def release(self, name: str, holder: str) -> None:
        """Give a slot back."""
        await self._coordinator.release(name, holder)

    def letters(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        return self._dead_letters.letters()

    async def drop_letter(self, run_id: str) -> bool:
        """Forget one dead letter; False when there is none."""
        return await self._dead_letters.drop_letter(run_id)

    async def announce(self, worker: str, info: bytes, ttl: float) -> None:
        """Say that a worker lives."""
        await self._presence.announce(worker, info, ttl)

    async def workers(self) -> list[tuple[str, bytes]]:
        """List the living workers and what they said of themselves."""
        return await self._presence.workers()

    async def listen(self, topic: str, answer: Callable[[bytes], bytes | None]) -> Watch:
        """Hear what is asked under a topic; see `jtask.contract.Control`."""
        return await self._control.listen(topic, answer)

    async def ask(
        self, topic: str, question: bytes, *, timeout: float, answers: int | None = None
    ) -> list[bytes]:
        """Ask everybody who listens to a topic; see `jtask.contract.Control`."""
        return await self._control.ask(topic, question, timeout=timeout, answers=answers)

    async def put_record(
        self, bucket: str, key: str, body: bytes, *, revision: int | None = None
    ) -> bool:
        """Store a value under a key; see `jtask.contract.Records`."""
        return await self._records.put_record(bucket, key, body, revision=revision)

    async def get_record(self, bucket: str, key: str) -> Record | None:
        """Return a record, or None when there is none."""
        return await self._records.get_record(bucket, key)

    async def records(self, bucket: str) -> list[Record]:
        """Return a bucket's records, by key."""
        return await self._records.records(bucket)

    async def delete_record(self, bucket: str, key: str) -> bool:
        """Forget a record; False when there was none."""
        return await self._records.delete_record(bucket, key)

    async def queues(self) -> list[QueueInfo]:
        """Return how the queues stand, by name; see `jtask.contract.Queues`."""
        return await self._queues.queues()

    async def pause_queue(self, queue: str, until: float | None = None) -> None:
        """Deliver nothing of a queue until an instant; None is for ever."""
        await self._queues.pause_queue(queue, until)

    async def resume_queue(self, queue: str) -> bool:
        """End a pause; False when there was none."""
        return await self._queues.resume_queue(queue)

    def waiting(self, queue: str | None = None) -> AsyncIterator[WaitingRun]:
        """Yield the waiting and delayed runs of one queue or of all, oldest first."""
        return self._waiting_runs.waiting(queue)

    async def find_waiting(self, run_id: str) -> WaitingRun | None:
        """Return a run that waits or is delayed; may show one that a worker holds."""
        return await self._waiting_runs.find_waiting(run_id)

    def _on_disconnect(self) -> None:
        for consumption in self._consumptions:
            consumption.on_disconnect()

    def _on_reconnect(self) -> None:
        self._topology.forget()
        self._restore_task = asyncio.get_running_loop().create_task(self._restore())
        for consumption in self._consumptions:
            consumption.on_reconnect()

    def _on_denied(self, subject: str) -> None:
        for consumption in self._consumptions:
            consumption.on_denied(subject)

    async def _restore(self) -> None:
        """Check the streams: the server may be a new one, or have lost its disk."""
        try:
            await self._topology.ensure(*self._streams)
        except JTaskError as error:
            _log.warning("the streams cannot be put in place again: %s", error)
