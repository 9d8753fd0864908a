"""What a run that is delivered again is: over, in a living worker's hands, or to be begun."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable
from datetime import datetime
from enum import Enum

from jtask.errors import BrokerError, PermissionDenied
from jtask_nats.client.outages import RECONNECT_GRACE
from jtask_nats.queues.deliveries import InFlight, NatsDelivery
from jtask_nats.queues.doubts import Doubts, may_have_forgotten
from jtask_nats.queues.holders import Holders
from jtask_nats.queues.releases import Releases
from jtask_nats.queues.requeued import is_requeued
from jtask_nats.streams.session import Session

_SKEW = 1.0
"""Seconds by which a lost connection may be noticed too late, or the server's clock be behind."""

_log = logging.getLogger("jtask.worker")


class Verdict(Enum):
    """What to do with a run that is delivered again."""

    BEGIN = 0
    """Nobody has it: take it for what it is."""
    OVER = 1
    """It was queued again by whoever had it before: this message is to be removed."""
    HELD = 2
    """A living worker has it, which renews its lease: leave it alone."""


class Redeliveries:
    """Judge the runs that are delivered again to one worker; the others pay nothing for it.

    Args:
        session: To the server.
        releases: Counts the deliveries that were no loss.
    """

    def __init__(self, session: Session, releases: Releases) -> None:
        self._session = session
        self._releases = releases
        self._loop = asyncio.get_running_loop()
        self._holders = Holders(session)
        self._forgets = not session.topology.is_replicated
        self._doubts = Doubts(session.topology.clock, self._loop.time)
        self._reconnects = 0
        self._graceful_until = 0.0
        self._stopped = asyncio.Event()
        self.in_doubt = self._doubts.consumers
        """Those whose deliveries `doubts` has to look at: nearly never any."""
        self.inbox = self._holders.inbox
        """Where the answers to its questions arrive: who asks must not answer."""

    def on_disconnect(self, consumers: Iterable[InFlight]) -> None:
        """Doubt what some consumers deliver of what is stored by now.

        A server that is killed forgets what it has delivered in the last moment; where streams have
        replicas, the others know it.
        """
        if self._forgets:
            self._doubts.begin(consumers, time.time() + _SKEW)

    async def on_open(self, consumers: Iterable[InFlight]) -> None:
        """Do so for those that nobody has used since the server was started."""
        if self._forgets:
            await asyncio.gather(*map(self._doubt_if_forgotten, consumers))

    async def _doubt_if_forgotten(self, consumer: InFlight) -> None:
        topology = self._session.topology
        with contextlib.suppress(PermissionDenied):
            info = await topology.consumers.find(consumer.queue, consumer.priority)
            if info is not None and may_have_forgotten(info):
                asked = datetime.fromisoformat(info["ts"]).timestamp()
                self._doubts.begin([consumer], topology.clock.to_ours(asked))

    def doubts(self, delivery: NatsDelivery) -> bool:
        """Tell whether a run may be over or in somebody's hands although it is said to be new."""
        return self._doubts.about(delivery)

    def on_reconnect(self) -> None:
        """Give others a moment: the server may have been away from all."""
        self._reconnects += 1
        self._holders.forget()
        self._graceful_until = self._loop.time() + RECONNECT_GRACE

    def stop(self) -> None:
        """Wait for nobody any more."""
        self._stopped.set()

    def close(self) -> None:
        """Ask nothing more."""
        self.stop()
        self._holders.close()

    async def judge(self, delivery: NatsDelivery) -> Verdict:
        """Find out what a run is, and how many workers were lost with it."""
        losses = await self._count_losses(delivery) if delivery.is_counted else 0
        # A lapsed lease proves that a worker could not reach the server, not that it is dead.
        if (losses or delivery.is_doubtful) and await self._is_held(delivery, losses):
            _log.info("run %s is executed by a worker that lives: left to it", delivery.run_id)
            if delivery.is_counted:
                await self.excuse(delivery)
            return Verdict.HELD
        # Only now: whoever held it may have settled it meanwhile.
        over = await is_requeued(self._session, delivery)
        return Verdict.OVER if over else Verdict.BEGIN

    async def excuse(self, delivery: NatsDelivery) -> None:
        """Charge a delivery to nobody: the worker that had the run before lives."""
        try:
            await self._releases.add(delivery.run_id, delivery.seq)
        except BrokerError as error:
            _log.debug("run %s may be charged a lost worker: %s", delivery.run_id, error)

    async def _count_losses(self, delivery: NatsDelivery) -> int | None:
        try:
            return await delivery.count_lost_workers()
        except BrokerError as error:
            # Not charged: rather one try too many than a run ended that killed nobody.
            _log.debug("the lost workers of run %s are unknown: %s", delivery.run_id, error)
            return 1

    async def _is_held(self, delivery: NatsDelivery, losses: int | None) -> bool:
        run_id = delivery.run_id
        while not self._stopped.is_set():
            before = self._reconnects
            await self._let_others_return()
            # Nearly nothing that is only doubted is held. To find that out by silence, for one run
            # after the other, takes a second of the few that this worker has room for.
            may_be_held = losses or run_id in await self._holders.all_held()
            if may_be_held and await self._holders.hold(run_id):
                return True
            # A question that the connection broke in was perhaps never asked.
            if self._reconnects == before and self._session.connection.is_connected:
                return False
        return False

    async def _let_others_return(self) -> None:
        while (left := self._graceful_until - self._loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), left)
                return
