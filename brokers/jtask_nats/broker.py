"""The broker on NATS JetStream: one connection, and a part for each protocol of the contract."""

import asyncio
import logging
from collections.abc import Sequence

from jtask.background import end_all
from jtask.errors import JTaskError
from jtask.randomness import RANDOM
from jtask.settings import Settings
from jtask_nats.access import Access
from jtask_nats.client.connection import Connection
from jtask_nats.client.publisher import Publisher
from jtask_nats.queues.leases import Leases
from jtask_nats.queues.queues import NatsQueues
from jtask_nats.queues.register import QueueRegister
from jtask_nats.queues.releases import Releases
from jtask_nats.queues.runs import NatsRuns
from jtask_nats.settings import NatsSettings
from jtask_nats.stores.blobs import NatsBlobs
from jtask_nats.stores.counters import NatsCounters
from jtask_nats.stores.dead_letters import NatsDeadLetters
from jtask_nats.stores.event_log import NatsEventLog
from jtask_nats.stores.heartbeats import NatsHeartbeats
from jtask_nats.stores.logs import NatsLogs
from jtask_nats.stores.records import NatsRecords
from jtask_nats.stores.requests import NatsRequests
from jtask_nats.stores.results import NatsResults
from jtask_nats.stores.slots import NatsSlots
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import Subjects
from jtask_nats.streams.topology import Topology

_log = logging.getLogger("jtask")

EVERYTHING = (Stream.RUNS, Stream.RESULTS, Stream.EVENTS)
OUTCOMES = (Stream.RESULTS,)

_COMPARE_EVERY = 600.0  # seconds
_RESTORE_PAUSE = 5.0  # seconds between two looks at the streams: one may just have no leader


class NatsBroker:
    """A `jtask.contract.Broker`. Made by `open`.

    Args:
        connection: To the server; closed with the broker.
        client: This process's client id.
        settings: Namespace, times.
        own: The settings of NATS alone.
        access: How the lease guard reaches the server.
    """

    def __init__(
        self,
        connection: Connection,
        client: str,
        settings: Settings,
        own: NatsSettings,
        access: Access,
    ) -> None:
        subjects = Subjects(settings.namespace, own.nats_streams)
        self._connection = connection
        self._topology = Topology(connection, subjects, settings, own.replicas)
        publisher = Publisher(connection, timeout=settings.enqueue_timeout, links=own.nats_links)
        session = Session(connection, publisher, subjects, self._topology, settings, client)
        self._session = session
        self.counters = NatsCounters(session)
        leases = Leases(
            connection, settings.lease, access, is_replicated=self._topology.is_replicated
        )
        register = QueueRegister(session)
        self.runs = NatsRuns(session, leases, Releases(self.counters), register)
        self.queues = NatsQueues(session, register)
        self.results = NatsResults(session)
        self.events = NatsEventLog(session)
        self.logs = NatsLogs.of_logs(session)
        self.items = NatsLogs.of_items(session)
        self.blobs = NatsBlobs(session)
        self.slots = NatsSlots(session)
        self.dead_letters = NatsDeadLetters(session)
        self.heartbeats = NatsHeartbeats(session)
        self.requests = NatsRequests(session)
        self.records = NatsRecords(session)
        self._restore_task: asyncio.Task[None] | None = None
        self._upkeep_task: asyncio.Task[None] | None = None
        connection.on_disconnect(self.runs.on_disconnect)
        connection.on_reconnect(self._on_reconnect)
        publisher.on_no_stream(self._on_no_stream)
        connection.on_denied(self.runs.on_denied)

    @classmethod
    async def open(
        cls,
        connection: Connection,
        client: str,
        settings: Settings,
        own: NatsSettings,
        access: Access,
        streams: Sequence[Stream] = EVERYTHING,
    ) -> "NatsBroker":
        """Put the streams in place that are written to without asking whether they are there.

        Raises:
            ConfigurationError: They cannot be what jtask needs.
            BrokerError: The server refuses, or does not answer.
        """
        broker = cls(connection, client, settings, own, access)
        try:
            await broker._topology.ensure(*streams)
        except BaseException:
            await broker.close()
            raise
        broker._upkeep_task = asyncio.get_running_loop().create_task(broker._keep_up())
        return broker

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._connection.url

    @property
    def inline_limit(self) -> int:
        """The largest body of a run or an outcome, in bytes."""
        return self._session.inline_limit

    async def close(self) -> None:
        """Send what is still buffered, then close the connection."""
        tasks = self._restore_task, self._upkeep_task
        await end_all([task for task in tasks if task is not None])
        await self.runs.close()
        await self.events.drain()
        for watched in (self.results, self.events, self.logs, self.items):
            watched.close()
        await self._topology.close()
        await self._connection.close()

    async def _keep_up(self) -> None:
        """Compare the clocks now and then: somebody may set one."""
        while True:
            await asyncio.sleep(_COMPARE_EVERY * RANDOM.uniform(0.75, 1.25))
            try:
                await self._topology.recheck(self._topology.run_streams.first)
            except JTaskError as error:
                _log.debug("the server's clock cannot be asked for now: %s", error)

    def _on_reconnect(self) -> None:
        if self._restore_task is not None:
            self._restore_task.cancel()
        # The server may be another one, or have lost its disk.
        self._restore()
        self.runs.on_reconnect()

    def _on_no_stream(self) -> None:
        # Somebody may have removed it. Who only executes runs would never use it anew.
        if self._restore_task is None or self._restore_task.done():
            self._restore()

    def _restore(self) -> None:
        self._restore_task = asyncio.get_running_loop().create_task(self._restore_streams())

    async def _restore_streams(self) -> None:
        await self._topology.recheck_until_done(_report)
        await asyncio.sleep(_RESTORE_PAUSE)


def _report(reason: str) -> None:
    _log.warning("the streams cannot be recreated: %s", reason)
