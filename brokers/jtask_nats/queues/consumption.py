"""Pull runs of some queues for one worker, within one credit."""

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable, Sequence

from jtask.background import BackgroundTasks, end_all
from jtask.contract import DEFAULT_PRIORITY, Delivery
from jtask.errors import BrokerError, BrokerUnavailable
from jtask_nats.client.connection import Subscription
from jtask_nats.client.nats_errors import not_permitted
from jtask_nats.queues.deliveries import InFlight, NatsDelivery
from jtask_nats.queues.holders import answers_to
from jtask_nats.queues.leases import Leases
from jtask_nats.queues.messages import EARLY
from jtask_nats.queues.pull_health import PullHealth
from jtask_nats.queues.pull_sizes import Turns
from jtask_nats.queues.puller import Puller
from jtask_nats.queues.redeliveries import Redeliveries, Verdict
from jtask_nats.queues.releases import Releases
from jtask_nats.queues.repairs import Repairs
from jtask_nats.streams.session import Session
from jtask_nats.streams.subjects import PRIORITIES

_CHECK_EVERY = 0.25  # seconds
_PING_EVERY = 4  # checks
_PING_TIMEOUT = 5.0  # seconds; with two checks still within the 10 s of a health check
_COALESCE = 0.001  # seconds to wait for more to be freed before the next pull
_COALESCE_FROM = 8  # credit; below, each run counts
_TIMER_ERROR = 0.002  # seconds that a timer may be early: loops count in milliseconds
_LONGEST_WAIT = 2 * EARLY  # seconds; an instant further off can only be a clock that is wrong
_EARLY_LIMIT = 100
"""How many runs may wait here for their instant beyond the credit: else those that came first would
keep out others that are due sooner. What is due without room goes to another worker."""

_log = logging.getLogger("jtask.worker")


class NatsConsumption:
    """A `jtask.contract.Consumption`. Made by `open`.

    Args:
        session: To the server.
        leases: Renews the leases.
        releases: Counts how often a run was released.
        credit: How many deliveries may be unsettled at once.
        receive: Called for each.
        on_closed: Called with this consumption once it is closed.
    """

    def __init__(
        self,
        session: Session,
        leases: Leases,
        releases: Releases,
        credit: int,
        receive: Callable[[Delivery], None],
        on_closed: "Callable[[NatsConsumption], None]",
    ) -> None:
        self._session = session
        self._leases = leases
        self._releases = releases
        self._credit = credit
        self._receive = receive
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._queues: dict[str, list[Puller]] = {}
        self._turns = Turns[Puller]()
        self._handed_out = 0
        """Runs with the worker, which count against the credit."""
        self._surplus: list[tuple[int, int, NatsDelivery]] = []
        self._is_handing_out = False
        self._order = itertools.count()
        self._not_due: dict[NatsDelivery, asyncio.TimerHandle] = {}
        self._redeliveries = Redeliveries(session, releases)
        self._in_question: set[NatsDelivery] = set()
        """Delivered again, and not known yet to be this worker's to execute."""
        self._background = BackgroundTasks()
        self._pull_handle: asyncio.Handle | None = None
        self._pull_scheduled = False
        self._health_timer: asyncio.TimerHandle | None = None
        self._health = PullHealth(self._loop.time)
        self._checks = itertools.count()
        self._ping: asyncio.Task[None] | None = None
        self._repairs = Repairs(
            session, self._queues, self._health, self._add, self._turns.note, self.schedule_pull
        )
        self._stopped = False
        connection, subjects = session.connection, session.subjects
        self._new_priorities = connection.subscribe(subjects.new_priority, self._on_new_priority)
        # Kept after `stop`: a run that is still held must not be taken for a waiting one.
        self._held_requests = connection.subscribe(subjects.held, self._on_held_request)

    async def open(self, queues: Sequence[str]) -> None:
        """Begin to consume.

        Args:
            queues: Their names; one that is not there is created.

        Raises:
            BrokerError: The server refuses, or does not answer.
            ConfigurationError: A stream cannot be what jtask needs.
        """
        topology = self._session.topology
        names = list(dict.fromkeys(queues))
        await asyncio.gather(topology.ensure_runs(*names), self._releases.prepare())
        found = await topology.consumers.priorities(names)
        # A queue has other priorities than the default only once somebody has used them.
        wanted = {*found, *((queue, DEFAULT_PRIORITY) for queue in names)}
        await asyncio.gather(*(topology.ensure_consumer(*one, owner=True) for one in wanted))
        self._queues.update({queue: [] for queue in names})
        for queue, priority in wanted:
            self._add(queue, priority)
        await self._redeliveries.on_open(
            one.in_flight for one in self._pullers() if (one.queue, one.priority) in found
        )
        self._health_timer = self._loop.call_later(_CHECK_EVERY, self._check_health)
        self._pull()

    def set_credit(self, credit: int) -> None:
        """Change how many deliveries may be unsettled at once."""
        self._credit = credit
        self._hand_out_surplus()
        self.schedule_pull()

    async def stop(self) -> None:
        """Stop pulling; what is on the way or waits here is released."""
        if not self._stopped:
            self._stopped = True
            self._redeliveries.stop()
            self._end_watching()
            await self._repairs.stop()
            await self._end_ping()
            await asyncio.gather(*self._background, return_exceptions=True)
            for timer in self._not_due.values():
                timer.cancel()
            unseen = [*self._not_due, *(entry[2] for entry in self._surplus)]
            self._not_due.clear()
            self._surplus.clear()
            await asyncio.gather(*map(self._release, unseen))
        try:
            await asyncio.gather(*(puller.stop() for puller in self._pullers()))
        except BrokerUnavailable as error:
            _log.debug("pulls could not be cancelled: %s", error)
        # What arrived while the pulls were withdrawn.
        await asyncio.gather(*self._background, return_exceptions=True)

    async def close(self) -> None:
        """Stop, and stop renewing leases."""
        await self.stop()
        self._held_requests.unsubscribe()
        self._redeliveries.close()
        for puller in self._pullers():
            puller.in_flight.let_all_lapse()
        self._on_closed(self)

    def problem(self) -> str | None:
        """Say why nothing can be consumed right now; None while all is well."""
        if not self._session.connection.is_connected:
            return f"the connection to {self._session.connection.url} is lost"
        return self._health.problem

    def on_disconnect(self) -> None:
        """Expect nothing of the pulls any more: the server has forgotten them."""
        self._redeliveries.on_disconnect(puller.in_flight for puller in self._pullers())
        for puller in self._pullers():
            # Broken, so that nothing is pulled before the reconnect has looked at the consumers.
            puller.reset()
            puller.is_broken = True
            self._turns.note(puller)

    def on_reconnect(self) -> None:
        """Pull again after a repair: the server may be another one, without our consumers."""
        self._redeliveries.on_reconnect()
        for puller in self._pullers():
            self.on_broken(puller, "the connection was lost")

    def on_denied(self, subject: str) -> None:
        """Repair the puller whose subject the server has denied."""
        url = self._session.connection.url
        # Of those that are being repaired it is known already.
        for puller in self._pullers():
            if puller.is_broken:
                continue
            if puller.request_subject == subject:
                self.on_broken(puller, str(not_permitted("publish to", subject, url)))
            elif puller.inbox == subject:
                self.on_broken(puller, str(not_permitted("subscribe to", subject, url)))

    def on_delivery(self, delivery: NatsDelivery, at: float) -> None:
        """Hand a delivery out, or keep it until its instant and until there is credit."""
        if self._redeliveries.in_doubt and self._redeliveries.doubts(delivery):
            delivery.doubt()
        # Only then can it be queued twice; a NAK counts too, so most of these are not.
        if delivery.redelivered:
            self._in_question.add(delivery)
            self._background.start(self._judge(delivery, at))
        elif at or self._surplus or self._handed_out >= self._credit:
            self._admit(delivery, at)
        else:
            self._hand_out(delivery)

    def _admit(self, delivery: NatsDelivery, at: float) -> None:
        delay = at - time.time() if at else 0.0
        if delay > 0:
            self._wait(delivery, at, min(delay, _LONGEST_WAIT))
        elif self._has_room():
            self._hand_out(delivery)
        else:
            self._buffer(delivery)

    def schedule_pull(self) -> None:
        """Pull at the end of this pass of the loop, if there is room."""
        if self._pull_scheduled or self._stopped:
            return
        if self._pull_handle is not None:
            self._pull_handle.cancel()
        self._pull_scheduled = True
        self._pull_handle = self._loop.call_soon(self._pull)

    def on_answered(self, puller: Puller) -> None:
        """Take note of what is asked for and of what is known now; pull again soon."""
        self._turns.note(puller)
        self.schedule_pull()

    def on_broken(self, puller: Puller, reason: str) -> None:
        """Repair a consumer, then pull from it again."""
        puller.is_broken = True
        self.on_answered(puller)
        if not self._stopped:
            self._repairs.begin(puller, reason)

    def _pullers(self) -> list[Puller]:
        return [puller for pullers in self._queues.values() for puller in pullers]

    def _add(self, queue: str, priority: int) -> None:
        in_flight = InFlight(
            self._session, self._leases, queue, priority, self._freed, self._releases
        )
        self._leases.add(in_flight)
        others = self._pullers()
        if len(others) == 1 and others[0].outstanding > 1:
            # It has asked for all that there is room for, and may get nothing for seconds.
            self._withdraw(others[0])
        puller = Puller(in_flight, self)
        self._queues[queue].append(puller)
        self._turns.add(puller, priority)

    def _wait(self, delivery: NatsDelivery, at: float, delay: float) -> None:
        self._not_due[delivery] = self._loop.call_later(delay, self._on_due, delivery, at)

    def _on_due(self, delivery: NatsDelivery, at: float) -> None:
        left = at - time.time()
        if 0 < left < _TIMER_ERROR:
            self._wait(delivery, at, left)
            return
        del self._not_due[delivery]
        if self._has_room():
            self._hand_out(delivery)
        elif len(self._surplus) < self._credit:
            self._buffer(delivery)
        else:
            self.refuse(delivery)

    def refuse(self, delivery: NatsDelivery) -> None:
        """Release a delivery that nobody here has seen."""
        self._handed_out += 1  # which `_freed` takes back
        self._background.start(self._release(delivery))

    async def _release(self, delivery: NatsDelivery) -> None:
        try:
            await delivery.release()
        except BrokerError as error:
            _log.debug("run %s could not be released: %s", delivery.run_id, error)
            delivery.let_lapse()

    async def _judge(self, delivery: NatsDelivery, at: float) -> None:
        try:
            verdict = await self._redeliveries.judge(delivery)
        except Exception:
            # Kept, it would be renewed for ever, and nobody would execute it.
            _log.exception("run %s could not be judged: it is delivered again", delivery.run_id)
            verdict = Verdict.HELD
        finally:
            self._in_question.discard(delivery)
        if verdict is Verdict.OVER:
            self._handed_out += 1  # which `_freed` takes back
            delivery.ack()
        elif verdict is Verdict.HELD:
            self._handed_out += 1
            delivery.let_lapse()
        elif self._stopped:
            self.refuse(delivery)
        else:
            self._admit(delivery, at)

    def on_redelivered(self, delivery: NatsDelivery) -> None:
        """Charge nobody for a lease of this worker's own that ran out."""
        self._background.start(self._redeliveries.excuse(delivery))

    def _has_room(self) -> bool:
        return self._handed_out < self._credit and not self._surplus

    def _hand_out(self, delivery: NatsDelivery) -> None:
        self._handed_out += 1
        self._receive(delivery)

    def _buffer(self, delivery: NatsDelivery) -> None:
        heapq.heappush(self._surplus, (-delivery.level, next(self._order), delivery))

    def _hand_out_surplus(self) -> None:
        if self._is_handing_out:
            # Whoever is given a run raised the credit, or settled it at once: the loop below goes
            # on, rather than a thousand of them inside each other.
            return
        self._is_handing_out = True
        try:
            while self._surplus and self._handed_out < self._credit:
                self._hand_out(heapq.heappop(self._surplus)[2])
        finally:
            self._is_handing_out = False

    def _freed(self, count: int) -> None:
        self._handed_out -= count
        if self._surplus:
            self._hand_out_surplus()
        # Half of the credit at once is pulled for without delay. Less is collected for a moment:
        # a pull for each run would double the messages on the wire.
        if self._credit < _COALESCE_FROM or self._handed_out * 2 <= self._credit:
            self.schedule_pull()
        elif self._pull_handle is None and not self._stopped:
            self._pull_handle = self._loop.call_later(_COALESCE, self._pull)

    def _pull(self) -> None:
        self._pull_handle = None
        self._pull_scheduled = False
        if self._stopped or not self._session.connection.is_connected:
            return
        taken = self._handed_out + len(self._surplus) + len(self._in_question)
        taken += max(0, len(self._not_due) - _EARLY_LIMIT)
        for puller, (size, mode) in self._turns.next(self._credit, taken):
            puller.pull(size, mode)
            self._turns.note(puller)

    def _check_health(self) -> None:
        pullers, is_connected = self._pullers(), self._session.connection.is_connected
        for puller in self._health.check(pullers):
            self.on_broken(puller, "the server is silent")
        if is_connected:
            self._probe(pullers)
            if self._is_ping_due() and not any(p.outstanding for p in pullers):
                self._ping = self._loop.create_task(self._ping_server())
        self._health_timer = self._loop.call_later(_CHECK_EVERY, self._check_health)

    def _probe(self, pullers: Sequence[Puller]) -> None:
        """Pull anew where nobody answers.

        The leader of a consumer moves without a word, and one that comes back does so long before
        the leader of the cluster, whom a repair needs.
        """
        for puller in self._health.quiet(pullers):
            # First: nobody is to wait for what was asked for before.
            self._withdraw(puller)
            puller.probe()
            self.on_answered(puller)

    def _withdraw(self, puller: Puller) -> None:
        self._background.start(_drained(puller.withdraw()))
        self._turns.note(puller)

    def _is_ping_due(self) -> bool:
        return self._ping is None and next(self._checks) % _PING_EVERY == 0

    async def _ping_server(self) -> None:
        """Ping the server while no pull stands whose heartbeats would show that it lives."""
        try:
            await self._session.connection.flush(_PING_TIMEOUT)
        except BrokerUnavailable as error:
            self._health.record_ping(str(error))
        else:
            self._health.record_ping(None)
        finally:
            self._ping = None

    async def _end_ping(self) -> None:
        if self._ping is not None:
            await end_all([self._ping])

    def _end_watching(self) -> None:
        self._new_priorities.unsubscribe()
        for handle in (self._pull_handle, self._health_timer):
            if handle is not None:
                handle.cancel()

    def _on_new_priority(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        del subject, reply, block
        queue, _, priority = data.decode(errors="replace").partition(" ")
        pullers = self._queues.get(queue)
        if pullers is None or priority not in PRIORITIES:
            return
        if all(puller.priority != int(priority) for puller in pullers):
            self._add(queue, int(priority))
            self.schedule_pull()

    def _on_held_request(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        del subject, block
        if reply == self._redeliveries.inbox:
            return
        every = (one.run_id for puller in self._pullers() for one in puller.in_flight.held.values())
        for answer in answers_to(data, every):
            self._session.connection.send(reply, answer)


async def _drained(pulls: Subscription) -> None:
    try:
        await pulls.drain()
    except BrokerUnavailable as error:
        pulls.unsubscribe()
        _log.debug("pulls could not be withdrawn: %s", error)
