"""Put runs on their queues, and take them off again before they have started."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import starmap
from typing import cast

from jtask.contract import (
    ATOMIC_LIMIT,
    DEFAULT_PRIORITY,
    Delivery,
    Message,
    MessageGroup,
    check_message,
    check_messages,
)
from jtask.errors import BrokerUnavailable, MessageRefused
from jtask.ids import is_run_id
from jtask.signal_safety import result_of
from jtask_nats.client.batches import BatchMessages
from jtask_nats.client.direct_reads import StoredMessage, find_last_message, latest_message
from jtask_nats.client.purging import Deleted, try_to_purge
from jtask_nats.queues.consumption import NatsConsumption
from jtask_nats.queues.deletion import delete_message
from jtask_nats.queues.deliveries import NatsDelivery, ack_many
from jtask_nats.queues.holders import SHORT_PATIENCE, Holders, busy_patience
from jtask_nats.queues.leases import Leases
from jtask_nats.queues.messages import OutgoingMessage, new_run_message, new_run_messages
from jtask_nats.queues.over_streams import first_found
from jtask_nats.queues.overdue import OverdueRuns
from jtask_nats.queues.parked import ParkedRuns
from jtask_nats.queues.prepared_runs import PreparedBatch
from jtask_nats.queues.queue_counts import is_level, level_of
from jtask_nats.queues.register import QueueRegister
from jtask_nats.queues.releases import Releases
from jtask_nats.queues.replacing import replace_delayed
from jtask_nats.streams.session import Session

_GROUPS_IN_FLIGHT = 4  # batches; a stream allows 50 in all, of all its publishers (ADR-50)


class NatsRuns:
    """A `jtask.contract.RunQueue`.

    Args:
        session: To the server.
        leases: Renews the leases of what is consumed.
        releases: Counts how often a run was released.
        register: Of the queues that get runs.
    """

    def __init__(
        self, session: Session, leases: Leases, releases: Releases, register: QueueRegister
    ) -> None:
        self._session = session
        self._leases = leases
        self._releases = releases
        self._register = register
        self._parked = ParkedRuns(session, self._open_priority)
        self._overdue = OverdueRuns(session)
        self._holders: Holders | None = None
        self._consumptions: set[NatsConsumption] = set()
        self._loop = asyncio.get_running_loop()
        self._in_flight = defaultdict[str, asyncio.Semaphore](
            lambda: asyncio.Semaphore(_GROUPS_IN_FLIGHT)
        )

    async def enqueue(self, messages: Sequence[Message]) -> None:
        """Store messages; they are durable on return."""
        check_messages(messages)
        for message in messages:
            if message.priority != DEFAULT_PRIORITY:
                await self._open_priority(message.queue, message.priority)
        self._check_sizes(messages)
        queues = {message.queue for message in messages}
        for queue in queues:
            self._register.note(queue)
        await self._session.topology.ensure_runs(*queues)
        try:
            await asyncio.gather(*starmap(self._store, self._by_stream(messages, queues)))
        except BrokerUnavailable:
            self._doubt_streams()
            raise

    def prepare_enqueue(self, group: MessageGroup) -> PreparedBatch | None:
        """Prepare `enqueue`, in any thread but the loop's; see `jtask.contract.RunQueue`."""
        session = self._session
        is_ready = session.topology.is_ready_for(group.queue, group.priority)
        if not is_ready or not 1 < len(group) <= ATOMIC_LIMIT:
            return None
        # The place of all; the ids are our own.
        check_message(group[0])
        self._register.note_from_thread(group.queue)
        if max(map(len, group.bodies)) > session.inline_limit:
            self._check_sizes(group)
        return PreparedBatch(session, session.publisher.prepare_batch(self._outgoing(group)))

    def enqueue_from_thread(self, message: Message) -> None:
        """Do `enqueue([message])` from any thread but the loop's, blocking it."""
        ready = self._ready_at_once(message)
        if ready is None:
            whole = self.enqueue([message])
            result_of(asyncio.run_coroutine_threadsafe(whole, self._loop))
            return
        session = self._session
        pushed = session.subjects.pushed(message.run_id)
        try:
            publish = session.publisher.publish_from_thread
            publish(ready.subject, ready.body, ready.headers, pushed)
        except BrokerUnavailable:
            self._doubt_streams()
            raise

    async def enqueue_from_loop(self, message: Message) -> None:
        """Do `enqueue([message])` from any loop but the broker's."""
        ready = self._ready_at_once(message)
        if ready is None:
            whole = self.enqueue([message])
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(whole, self._loop))
            return
        session = self._session
        pushed = session.subjects.pushed(message.run_id)
        try:
            publish = session.publisher.publish_from_loop
            await publish(ready.subject, ready.body, ready.headers, pushed)
        except BrokerUnavailable:
            self._doubt_streams()
            raise

    def _ready_at_once(self, message: Message) -> OutgoingMessage | None:
        """Return what to publish; None where the topology has to be looked at before."""
        check_message(message)
        session = self._session
        if not session.topology.is_ready_for(message.queue, message.priority):
            return None
        self._register.note_from_thread(message.queue)
        if len(message.body) > (limit := session.inline_limit):
            raise _too_large(message, limit)
        return new_run_message(session.subjects, message, session.topology.clock)

    def _check_sizes(self, messages: Sequence[Message]) -> None:
        limit = self._session.inline_limit
        for message in messages:
            if len(message.body) > limit:
                raise _too_large(message, limit)

    def _doubt_streams(self) -> None:
        # Somebody may have removed the one of runs: check at the next use.
        self._session.topology.forget()

    async def replace(self, message: Message) -> bool:
        """Put another message in the place of a delayed run that no worker has had yet."""
        check_message(message)
        self._check_sizes((message,))
        return await replace_delayed(self._session, message)

    async def consume(
        self, queues: Sequence[str], credit: int, receive: Callable[[Delivery], None]
    ) -> NatsConsumption:
        """Deliver runs of some queues; see `jtask.contract.RunQueue`."""
        forget = self._consumptions.discard
        consumption = NatsConsumption(
            self._session, self._leases, self._releases, credit, receive, forget
        )
        self._consumptions.add(consumption)
        try:
            await consumption.open(queues)
        except BaseException:
            await consumption.close()
            raise
        return consumption

    def ack_many(self, deliveries: Sequence[Delivery]) -> None:
        """Do `ack` with many deliveries of this broker, in a few steps for all."""
        ack_many(cast("Sequence[NatsDelivery]", deliveries))

    async def wake(
        self, key: str, count: int = 1, *, tokens: Sequence[str] = (), first: bool = True
    ) -> int:
        """Queue parked runs at once, those that were parked first; return how many."""
        return await self._parked.wake(key, count, tokens, first=first)

    async def parked(self, key: str) -> int:
        """Count the runs that are parked under a key."""
        return await self._parked.count(key)

    async def parked_keys(self, prefix: str) -> set[str]:
        """Return the keys that begin so and that runs are parked under."""
        return await self._parked.keys(prefix)

    async def cancel(self, run_id: str) -> bool:
        """Take a waiting or delayed run off its queue; False when none is waiting.

        The server would also remove a run that a worker holds, so that is checked first:
        a run behind the last one that its consumer delivered is held by nobody; for any other the
        workers are asked.
        """
        if not is_run_id(run_id):
            return False  # it could address the runs of others
        session = self._session
        await session.topology.ensure_runs()
        streams = session.topology.run_streams.names
        return bool(await first_found(self._cancel_in(stream, run_id) for stream in streams))

    async def close(self) -> None:
        """Close all consumptions, and renew no leases any more."""
        for consumption in list(self._consumptions):
            await consumption.close()
        await self._leases.close()
        await self._overdue.close()
        await self._register.close()
        if self._holders is not None:
            self._holders.close()

    def on_disconnect(self) -> None:
        """Tell the consumptions that the connection is lost."""
        for consumption in self._consumptions:
            consumption.on_disconnect()

    def on_reconnect(self) -> None:
        """Tell the consumptions that the connection is there again."""
        # First: before anybody else asks for what seems to be lost.
        self._leases.renew_now()
        for consumption in self._consumptions:
            consumption.on_reconnect()

    def on_denied(self, subject: str) -> None:
        """Tell the consumptions that the server denied a subject."""
        for consumption in self._consumptions:
            consumption.on_denied(subject)

    async def _open_priority(self, queue: str, priority: int) -> None:
        """Create the consumer of a priority and notify the workers of the queue."""
        topology = self._session.topology
        if topology.knows_consumer(queue, priority):
            return
        if await topology.ensure_consumer(queue, priority, owner=False):
            # Not stored: a worker that misses this finds the consumer at its next repair or start.
            news = f"{queue} {priority}".encode()
            self._session.connection.send(self._session.subjects.new_priority, news)

    def _outgoing(self, messages: Sequence[Message]) -> BatchMessages:
        return new_run_messages(self._session.subjects, messages, self._session.topology.clock)

    def _by_stream(
        self, messages: Sequence[Message], queues: Collection[str]
    ) -> Iterator[tuple[str, Sequence[Message]]]:
        """Yield streams and what is to be stored in each: a batch is for one stream."""
        streams = self._session.topology.run_streams.of_queues(queues)
        for stream, its in streams.items():
            is_only = len(streams) == 1
            yield stream, messages if is_only else [one for one in messages if one.queue in its]

    async def _store(self, stream: str, messages: Sequence[Message]) -> None:
        if len(messages) == 1:
            await self._session.publisher.publish_each(self._outgoing(messages))
            return
        starts = range(0, len(messages), ATOMIC_LIMIT)
        groups = (self._outgoing(messages[i : i + ATOMIC_LIMIT]) for i in starts)
        await asyncio.gather(*(self._store_group(stream, group) for group in groups))

    async def _store_group(self, stream: str, group: BatchMessages) -> None:
        publisher = self._session.publisher
        if len(group) == 1:
            await publisher.publish_each(group)
            return
        async with self._in_flight[stream]:
            await PreparedBatch(self._session, publisher.prepare_batch(group)).store()

    async def _cancel_in(self, stream: str, run_id: str) -> bool:
        session = self._session
        connection, subjects = session.connection, session.subjects
        anywhere = subjects.runs("*", run_id)
        if await find_last_message(connection, stream, anywhere) is None:
            return False
        # Safe only because no consumer covers these subjects: a purge that hits deliveries makes
        # the server forget them, see `delete_message`.
        places = (subjects.schedule("*", "*", run_id), subjects.parked("*", None, run_id))
        done = {await try_to_purge(connection, stream, place) for place in places}
        waiting = await find_last_message(connection, stream, subjects.queued("*", "*", run_id))
        if waiting is None:
            # It was there, so what may have been deleted was.
            return done != {Deleted.NO}
        is_off_queue = await self._take_off_queue(stream, run_id, waiting)
        return is_off_queue or Deleted.YES in done

    async def _take_off_queue(self, stream: str, run_id: str, waiting: StoredMessage) -> bool:
        """Delete a run's message; False when a worker has it, or puts it elsewhere meanwhile."""
        session = self._session
        patience = busy_patience(session.settings.lease)
        delivered, pending = await self._progress(waiting.subject)
        is_doubtful = delivered >= waiting.sequence and pending > 0
        if is_doubtful and await self._is_held(run_id, patience):
            return False
        removed = await delete_message(session, stream, waiting.sequence)
        # A worker may have received it a moment ago, and the deletion does not say so. The consumer
        # does, as long as it remembers: a server that was killed has forgotten what it had
        # delivered last, so that the workers are asked in any case.
        is_on_its_way = delivered < waiting.sequence <= (await self._progress(waiting.subject))[0]
        if await self._is_held(run_id, patience if is_on_its_way else SHORT_PATIENCE):
            return False
        if removed is not Deleted.PERHAPS:
            return removed is Deleted.YES
        # Else whoever had it has put it back for another time.
        anywhere = session.subjects.runs("*", run_id)
        return await latest_message(session.connection, stream, anywhere) is None

    async def _progress(self, subject: str) -> tuple[int, int]:
        """Return the last message that a queue's consumer has delivered, and how many are held.

        One that is deleted is not counted as held, though a worker has it.
        """
        queue, priority = level_of(subject)
        if not is_level(queue, priority):
            return 0, 0  # no consumer delivers it
        info = await self._session.topology.consumers.find(queue, int(priority))
        return (info["delivered"]["stream_seq"], info["num_ack_pending"]) if info else (0, 0)

    async def _is_held(self, run_id: str, patience: float) -> bool:
        # Not before: nearly nobody cancels.
        if self._holders is None:
            self._holders = Holders(self._session, SHORT_PATIENCE)
        return await self._holders.hold(run_id, patience)


def _too_large(message: Message, limit: int) -> MessageRefused:
    return MessageRefused(
        f"the body of run {message.run_id} has {len(message.body)} bytes, "
        f"but the broker accepts at most {limit}; store it as a blob"
    )
