"""A worker's standing wish for runs of some queues, within one credit."""

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from jtask.contract import DEFAULT_PRIORITY, Delivery
from jtask.errors import BrokerUnavailable, JTaskError
from jtask_nats.client.nats_errors import not_permitted
from jtask_nats.queues.deliveries import Desk, NatsDelivery
from jtask_nats.queues.leases import Leases
from jtask_nats.queues.messages import EARLY
from jtask_nats.queues.pull_health import Pulse
from jtask_nats.queues.pull_sizes import Standing, share
from jtask_nats.queues.puller import Puller
from jtask_nats.queues.requeued import has_successor
from jtask_nats.streams.session import Link
from jtask_nats.streams.topology import Store

_WATCH_EVERY = 1.0  # seconds
_PING_TIMEOUT = 5.0  # seconds
_GATHER = 0.001  # seconds in which the first half of the credit to be freed is collected
_GATHER_FROM = 8  # credit; below, each run counts
_HEAL_PAUSE = (0.1, 2.0)  # seconds: first and longest
_TIMER_ERROR = 0.002  # seconds that a timer may be early: loops count in milliseconds
_LONGEST_WAIT = 2 * EARLY  # seconds; an instant further off can only be a clock that is wrong
_AHEAD = 100
"""How many runs may wait here for their instant beyond the credit: else those that came first would
keep out others that are due sooner. What is due without room goes to another worker."""

_log = logging.getLogger("jtask.worker")


class NatsConsumption:
    """A `jtask.contract.Consumption`. Made by `open`.

    Args:
        link: To the server.
        leases: Renews the claims.
        credit: How many deliveries may be unsettled at once.
        receive: Called for each.
    """

    def __init__(
        self, link: Link, leases: Leases, credit: int, receive: Callable[[Delivery], None]
    ) -> None:
        self._link = link
        self._leases = leases
        self._credit = credit
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._queues: dict[str, list[Puller]] = {}
        self._levels: list[list[Puller]] = []
        """The same by priority, highest first."""
        self._turns = itertools.count()
        self._handed = 0
        """Runs with the worker, which count against the credit."""
        self._surplus: list[tuple[int, int, NatsDelivery]] = []
        self._order = itertools.count()
        self._waiting: dict[NatsDelivery, asyncio.TimerHandle] = {}
        self._looks: set[asyncio.Task[None]] = set()
        self._look: asyncio.Handle | None = None
        self._is_looking = False
        self._watch: asyncio.TimerHandle | None = None
        self._pulse = Pulse(self._loop.time)
        self._ping: asyncio.Task[None] | None = None
        self._healing: asyncio.Task[None] | None = None
        self._heal_pause = _HEAL_PAUSE[0]
        self._said = ""
        self._stopped = False
        connection, subjects = link.connection, link.subjects
        self._news = connection.subscribe(subjects.new_priority, self._on_new_priority)
        self._asked = connection.subscribe(subjects.held, self._on_held_asked)

    async def open(self, queues: Sequence[str]) -> None:
        """Begin to consume.

        Raises:
            BrokerError: It is not possible now.
        """
        topology = self._link.topology
        await topology.ensure(Store.RUNS)
        names = list(dict.fromkeys(queues))
        found = await topology.priorities(names)
        wanted = {*found, *((queue, DEFAULT_PRIORITY) for queue in names)}
        await asyncio.gather(*(topology.ensure_consumer(*one, owner=True) for one in wanted))
        self._queues = {queue: [] for queue in names}
        for queue, priority in wanted:
            self._add(queue, priority)
        self._watch = self._loop.call_later(_WATCH_EVERY, self._look_for_silence)
        self._pull()

    def set_credit(self, credit: int) -> None:
        """Change how many deliveries may be unsettled at once."""
        self._credit = credit
        self._hand_out_surplus()
        self.wants_more()

    async def stop(self) -> None:
        """Want nothing more; what is on the way or waits here is handed back."""
        if not self._stopped:
            self._stopped = True
            self._end_watching()
            tasks = [task for task in (self._healing, self._ping) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, *self._looks, return_exceptions=True)
            for timer in self._waiting.values():
                timer.cancel()
            unseen = [*self._waiting, *(entry[2] for entry in self._surplus)]
            self._waiting.clear()
            self._surplus.clear()
            for delivery in unseen:
                await delivery.hand_back()
        try:
            await asyncio.gather(*(puller.stop() for puller in self._pullers()))
        except BrokerUnavailable as error:
            _log.debug("pulls could not be withdrawn: %s", error)

    async def close(self) -> None:
        """Stop, and stop renewing leases."""
        await self.stop()
        self._asked.unsubscribe()
        for puller in self._pullers():
            self._leases.remove(puller.desk)

    def problem(self) -> str | None:
        """Say why nothing can be consumed right now; None while all is well."""
        if not self._link.connection.is_connected:
            return f"the connection to {self._link.connection.url} is lost"
        return self._pulse.problem

    def on_disconnect(self) -> None:
        """Take note that the server has forgotten our pulls."""
        for puller in self._pullers():
            puller.renew()
            puller.is_broken = True

    def on_reconnect(self) -> None:
        """Pull again; the server may be another one, so look whether all is in place."""
        for puller in self._pullers():
            self.broken(puller, "the connection was lost")

    def on_denied(self, subject: str) -> None:
        """Take note that the server does not permit us to use a subject."""
        url = self._link.connection.url
        # Of those that are being repaired it is known already.
        for puller in self._pullers():
            if puller.is_broken:
                continue
            if puller.request_subject == subject:
                self.broken(puller, str(not_permitted("publish to", subject, url)))
            elif puller.inbox == subject:
                self.broken(puller, str(not_permitted("subscribe to", subject, url)))

    def arrived(self, delivery: NatsDelivery, at: float) -> None:
        """Hand a delivery out, or keep it until its instant and until there is credit."""
        if delivery.deliveries > 1:
            self._track(self._look_at_redelivered(delivery, at))
        else:
            self._arrange(delivery, at)

    def _arrange(self, delivery: NatsDelivery, at: float) -> None:
        delay = at - time.time() if at else 0.0
        if delay > 0:
            self._wait(delivery, at, min(delay, _LONGEST_WAIT))
        elif self._has_room():
            self._hand_out(delivery)
        else:
            self._keep(delivery)

    def wants_more(self) -> None:
        """Look at the end of this pass of the loop whether something is to be pulled."""
        if self._is_looking or self._stopped:
            return
        if self._look is not None:
            self._look.cancel()
        self._is_looking = True
        self._look = self._loop.call_soon(self._pull)

    def broken(self, puller: Puller, reason: str) -> None:
        """Put a consumer in place again, then pull from it."""
        puller.is_broken = True
        if self._stopped:
            return
        _log.debug("cannot pull from %s_%s: %s", puller.queue, puller.priority, reason)
        again = self._pulse.is_doubted(puller)
        self._pulse.doubt(puller, f"runs of queue {puller.queue!r} cannot be pulled: {reason}")
        if self._healing is None:
            first, longest = _HEAL_PAUSE
            self._heal_pause = min(2 * self._heal_pause, longest) if again else first
            self._healing = self._loop.create_task(self._heal())

    def _pullers(self) -> list[Puller]:
        return [puller for pullers in self._queues.values() for puller in pullers]

    def _add(self, queue: str, priority: int) -> None:
        desk = Desk(self._link, self._leases, queue, priority, self._freed)
        self._leases.add(desk)
        self._queues[queue].append(Puller(desk, self))
        by_priority: dict[int, list[Puller]] = {}
        for puller in self._pullers():
            by_priority.setdefault(puller.priority, []).append(puller)
        self._levels = [by_priority[level] for level in sorted(by_priority, reverse=True)]

    def _wait(self, delivery: NatsDelivery, at: float, delay: float) -> None:
        self._waiting[delivery] = self._loop.call_later(delay, self._due, delivery, at)

    def _due(self, delivery: NatsDelivery, at: float) -> None:
        left = at - time.time()
        if 0 < left < _TIMER_ERROR:
            self._wait(delivery, at, left)
            return
        del self._waiting[delivery]
        if self._has_room():
            self._hand_out(delivery)
        elif len(self._surplus) < self._credit:
            self._keep(delivery)
        else:
            self._handed += 1  # until it is gone
            delivery.refuse()

    async def _look_at_redelivered(self, delivery: NatsDelivery, at: float) -> None:
        is_over = await has_successor(self._link, delivery)
        if not is_over and not self._stopped:
            self._arrange(delivery, at)
            return
        self._handed += 1  # until it is gone
        if is_over:
            delivery.ack()
        else:
            await delivery.hand_back()

    def _track(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    def _has_room(self) -> bool:
        return self._handed < self._credit and not self._surplus

    def _hand_out(self, delivery: NatsDelivery) -> None:
        self._handed += 1
        self._receive(delivery)

    def _keep(self, delivery: NatsDelivery) -> None:
        heapq.heappush(self._surplus, (-delivery.priority, next(self._order), delivery))

    def _hand_out_surplus(self) -> None:
        while self._surplus and self._handed < self._credit:
            self._hand_out(heapq.heappop(self._surplus)[2])

    def _freed(self) -> None:
        self._handed -= 1
        if self._surplus:
            self._hand_out_surplus()
        if self._credit < _GATHER_FROM or self._handed * 2 <= self._credit:
            self.wants_more()
        elif self._look is None and not self._stopped:
            self._look = self._loop.call_later(_GATHER, self._pull)

    def _pull(self) -> None:
        self._look = None
        self._is_looking = False
        if self._stopped or not self._link.connection.is_connected:
            return
        levels = [self._rotated(level) for level in self._levels]
        standings = [
            [Standing(one.outstanding, one.idle, one.is_broken) for one in level]
            for level in levels
        ]
        taken = self._handed + len(self._surplus) + max(0, len(self._waiting) - _AHEAD)
        flat = (one for level in levels for one in level)
        for puller, (size, way) in zip(flat, share(standings, self._credit, taken), strict=True):
            if size:
                puller.pull(size, way)

    def _rotated(self, level: list[Puller]) -> list[Puller]:
        """Begin with another queue each time, so that none is always served last."""
        start = next(self._turns) % len(level)
        return level[start:] + level[:start] if start else level

    def _look_for_silence(self) -> None:
        pullers = self._pullers()
        if self._healing is None:
            for puller in self._pulse.listen(pullers):
                self.broken(puller, "the server is silent")
        else:
            self._pulse.excuse(pullers)
        is_connected = self._link.connection.is_connected
        if self._ping is None and is_connected and not any(p.outstanding for p in pullers):
            self._ping = self._loop.create_task(self._ping_server())
        self._watch = self._loop.call_later(_WATCH_EVERY, self._look_for_silence)

    async def _ping_server(self) -> None:
        """Ask for a sign of life where no pull stands that would bring one."""
        try:
            await self._link.connection.flush(_PING_TIMEOUT)
        except BrokerUnavailable as error:
            self._pulse.pinged(str(error))
        else:
            self._pulse.pinged(None)
        finally:
            self._ping = None

    def _end_watching(self) -> None:
        self._news.unsubscribe()
        for handle in (self._look, self._watch):
            if handle is not None:
                handle.cancel()

    async def _heal(self) -> None:
        # A stream made anew while the server still deletes the old one takes no batches. And what
        # breaks again before it is heard is asked again later each time.
        await asyncio.sleep(self._heal_pause)
        pause, longest = _HEAL_PAUSE
        try:
            while any(puller.is_broken for puller in self._pullers()):
                try:
                    await self._repair()
                except JTaskError as error:
                    self._complain(str(error))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, longest)
            self._said = ""
        finally:
            self._healing = None
        self.wants_more()

    def _complain(self, reason: str) -> None:
        for puller in self._pullers():
            if puller.is_broken:
                self._pulse.doubt(puller, reason)
        if reason != self._said:
            self._said = reason
            _log.warning("cannot consume: %s", reason)

    async def _repair(self) -> None:
        topology = self._link.topology
        topology.forget()
        await topology.ensure(Store.RUNS)
        await self._learn_priorities()
        broken = [puller for puller in self._pullers() if puller.is_broken]
        for puller in broken:
            await topology.ensure_consumer(puller.queue, puller.priority, owner=True)
            puller.renew()

    async def _learn_priorities(self) -> None:
        known = {(puller.queue, puller.priority) for puller in self._pullers()}
        for queue, priority in await self._link.topology.priorities(list(self._queues)):
            if (queue, priority) not in known:
                self._add(queue, priority)

    def _on_new_priority(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        del subject, reply, block
        queue, _, priority = data.decode().partition(" ")
        pullers = self._queues.get(queue)
        if pullers is None or not priority.isdigit():
            return
        if all(puller.priority != int(priority) for puller in pullers):
            self._add(queue, int(priority))
            self.wants_more()

    def _on_held_asked(self, subject: str, reply: str, data: bytes, block: bytes | None) -> None:
        del subject, block
        asked = set(data.decode().split())
        every = (one.run_id for puller in self._pullers() for one in puller.desk.held.values())
        if mine := asked.intersection(every):
            self._link.connection.send(reply, " ".join(mine).encode())
