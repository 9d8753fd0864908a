"""Who waits for which run in this process: handles are resolved as outcomes are pushed."""

import asyncio
import logging
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from jtask.background import BackgroundTasks, map_bounded
from jtask.client.io_thread import IoThread
from jtask.client.short_waits import ShortWaits
from jtask.client.whereabouts import find_lost_outcome
from jtask.contract import Broker, OutcomeRecord, Subscription
from jtask.errors import BrokerUnavailable, JTaskError, RunNotFound
from jtask.ids import client_of, created_at
from jtask.runs import Run
from jtask.settings import get_settings
from jtask.wire.envelope import is_outcome_of

_RETRY_SECONDS = 0.5  # between two questions while the broker is away
_RECOVERY_REQUESTS = 64  # at once, after a gap
_DOUBT_SECONDS = (5.0, 10.0)  # after a gap, before a run that is nowhere is looked for, and again
_KEEP_SECONDS = 1.0  # that the ends of all own runs are pushed after somebody wanted one
_log = logging.getLogger("jtask")


class Waits:
    """Resolve the handles of runs that this process waits for.

    Args:
        io: The thread that carries the broker's I/O.
        broker: Where outcomes are.
        client: This process's client id, which the ids of its own runs carry.
    """

    def __init__(self, io: IoThread, broker: Broker, client: str) -> None:
        self._io = io
        self._broker = broker
        self._client = client
        # Weak: nothing has to be done for a handle that nobody keeps.
        self._handles: weakref.WeakValueDictionary[str, Run[Any]] = weakref.WeakValueDictionary()
        # By id(): handles of one run are equal, and each of them may have to be held.
        self._held: dict[int, Run[Any]] = {}
        self._own: Subscription | None = None
        self._own_lock: asyncio.Lock | None = None
        self._wanted = 0.0  # when somebody began to wait in this way, on the monotonic clock
        self._resting: asyncio.TimerHandle | None = None
        self._has_gap = False  # and what was missed is not asked for yet
        self._background = BackgroundTasks()
        self._short = ShortWaits(broker.results)
        self.is_closed = False
        """Set before `close`: whoever begins to wait from then on gets an error."""

    def find(self, run_id: str) -> Run[Any] | None:
        """Return the handle that is resolved for a run; None when there is none."""
        return self._handles.get(run_id)

    def track(self, run: Run[Any]) -> None:
        """Take a handle of a run that this process is about to store."""
        run.is_stored = True
        # In this order, see `_listen_no_more`.
        handles = self._handles
        # Before the first wait nobody listens, and a program that never waits is spared the pushes.
        if self._own is not None:
            handles[run.run_id] = run

    def fetch(self, run: Run[Any], timeout: float | None) -> None:
        """Resolve a handle if its run ends in a moment, for which this thread blocks.

        Args:
            run: The handle.
            timeout: Seconds that may be waited at most; None for ever.
        """
        if not self.is_closed and not self._io.is_current:
            body = self._short.fetch(run.run_id, timeout)
            if body is not None:
                run.resolve(body)

    async def fetch_async(self, run: Run[Any], timeout: float | None) -> None:
        """Do what `fetch` does without blocking the event loop."""
        if not self.is_closed and not self._io.is_current:
            body = await self._short.fetch_async(run.run_id, timeout)
            if body is not None:
                run.resolve(body)

    def expect(self, run: Run[Any]) -> None:
        """Resolve a handle when its run ends; returns at once, from any thread.

        Args:
            run: The handle; it is held weakly.
        """
        self._wanted = time.monotonic()
        if self._handles.get(run.run_id) is not run:
            self._io.submit(self._expect(run))

    def hold(self, run: Run[Any]) -> None:
        """Resolve a handle when its run ends, and keep it alive until then; from any thread."""
        if id(run) not in self._held:
            self._held[id(run)] = run

            def over(_: JTaskError | None = None) -> None:
                self._held.pop(id(run), None)

            if not run.when_over(over):
                over()
        self.expect(run)

    def close(self) -> None:
        """Give whoever waits an error; on the I/O thread."""
        if self._resting is not None:
            self._resting.cancel()
        for run in _unended(self._handles):
            self._disconnect(run)
        self._background.cancel()

    async def _expect(self, run: Run[Any]) -> None:
        known = self._handles.get(run.run_id)
        if known is run:
            return  # two threads began to wait at the same time
        if known is not None:
            # What is pushed resolves one handle of a run; the others follow that one.
            run.follow(known)
            return
        self._handles[run.run_id] = run
        own = self._is_own(run)
        while not run.done():
            if self.is_closed:
                self._disconnect(run)
                return
            try:
                await (self._expect_own(run) if own else self._expect_foreign(run))
                return
            except BrokerUnavailable as error:
                _log.debug("the outcome of run %s cannot be fetched yet: %s", run.run_id, error)
                await asyncio.sleep(_RETRY_SECONDS)
            except JTaskError as error:
                self._handles.pop(run.run_id, None)
                run.fail_waiters(error)
                return

    async def _expect_own(self, run: Run[Any]) -> None:
        # Listen, then ask: an outcome that is stored in between is pushed.
        await self._watch_own()
        if not await self._ask(run):
            await self._check_can_end(run)

    async def _expect_foreign(self, run: Run[Any]) -> None:
        # Listen, then ask, as for an own run.
        watch = await self._broker.results.watch(run.run_id, self._deliver, self._gap)
        try:
            is_over = await self._ask(run) or await self._check_can_end(run)
        except BaseException:
            await watch.close()
            raise
        if is_over:
            await watch.close()
            return
        # At the run's end, or when nobody has the handle any more and so nobody can wait: what ends
        # first closes the subscription. One who gave up waiting may wait again.
        close = weakref.finalize(run, self._close_soon, watch)
        close.atexit = False
        if not run.when_over(lambda _: close()):
            close()

    def _is_own(self, run: Run[Any]) -> bool:
        return client_of(run.run_id) == self._client

    def _close_soon(self, watch: Subscription) -> None:
        self._io.post(lambda: self._background.start(watch.close()))

    async def _watch_own(self) -> None:
        if self._own_lock is None:
            self._own_lock = asyncio.Lock()
        async with self._own_lock:
            if self._own is None:
                self._own = await self._broker.results.watch(self._client, self._deliver, self._gap)
                self._rest_later()

    def _rest_later(self) -> None:
        self._resting = asyncio.get_running_loop().call_later(_KEEP_SECONDS, self._rest)

    def _rest(self) -> None:
        """Spare the process what is pushed when nobody waits for it here any more."""
        is_new = time.monotonic() < self._wanted + _KEEP_SECONDS
        if is_new or any(run.is_awaited and self._is_own(run) for run in _unended(self._handles)):
            self._rest_later()
        elif self._own is not None:
            self._listen_no_more(self._own)

    def _listen_no_more(self, own: Subscription) -> None:
        # In this order: who tracks a run takes what is there first and asks whether we listen then,
        # and who waits has said so before it looks for its handle. So none is taken for one that is
        # told of its end.
        self._own = None
        before, self._handles = self._handles, weakref.WeakValueDictionary()
        for run in _unended(before):
            if not self._is_own(run):
                self._handles[run.run_id] = run
            elif run.is_awaited:
                self._background.start(self._expect(run))
        self._background.start(own.close())

    async def _ask(self, run: Run[Any]) -> bool:
        record = await self._broker.results.get(run.run_id)
        if record is not None:
            run.resolve(record.body)
        return record is not None

    async def _check_can_end(self, run: Run[Any]) -> bool:
        """Return whether a run has ended meanwhile; raise when its end can never come."""
        expires = created_at(run.run_id) + get_settings().result_ttl
        own = client_of(run.run_id) == self._client  # else it was stored before a fork
        if run.is_stored and own and time.time() < expires:
            return False  # what this process has stored is there
        record = await find_lost_outcome(self._broker, run.run_id)
        if record is not None:
            run.resolve(record.body)
        return record is not None

    def _deliver(self, record: OutcomeRecord) -> None:
        run = self._handles.get(record.run_id)
        if run is None:
            return
        if not is_outcome_of(record.run_id, record.body):
            # Anybody may push; what counts is what is stored.
            self._background.start(self._ask_again(run))
            return
        self._handles.pop(record.run_id, None)
        run.resolve(record.body)

    async def _ask_again(self, run: Run[Any]) -> None:
        try:
            await self._ask(run)
        except JTaskError as error:
            _log.debug("the outcome of run %s cannot be fetched yet: %s", run.run_id, error)

    def _gap(self) -> None:
        # Each subscription tells of the same gap; one look at all handles makes up for it.
        if not self._has_gap:
            self._has_gap = True
            self._background.start(self._recover())

    async def _recover(self) -> None:
        self._has_gap = False
        await _each_of(_unended(self._handles), self._ask)
        await self._give_up_lost()

    async def _give_up_lost(self) -> None:
        """Tell who waits for runs that the server has no more, as after the loss of its store."""
        doubtful = [run for run in _unended(self._handles) if run.is_awaited]
        lost: list[tuple[Run[Any], RunNotFound]] = []
        for pause in _DOUBT_SECONDS:
            await asyncio.sleep(pause)
            answers = await _each_of(doubtful, self._look_for)
            lost = [(run, error) for run, error in answers if isinstance(error, RunNotFound)]
            doubtful = [run for run, _ in lost]
        for run, error in lost:
            run.is_stored = False  # else who waits again would trust that it is there
            self._handles.pop(run.run_id, None)
            run.fail_waiters(error)

    async def _look_for(self, run: Run[Any]) -> None:
        record = None if run.done() else await find_lost_outcome(self._broker, run.run_id)
        if record is not None:
            run.resolve(record.body)

    def _disconnect(self, run: Run[Any]) -> None:
        self._handles.pop(run.run_id, None)
        run.fail_waiters(disconnected(run))


def _unended(handles: "weakref.WeakValueDictionary[str, Run[Any]]") -> list[Run[Any]]:
    # valuerefs copies in one step; other threads add handles meanwhile.
    return [run for ref in handles.valuerefs() if (run := ref()) and not run.done()]


async def _each_of(
    runs: list[Run[Any]], ask: Callable[[Run[Any]], Awaitable[object]]
) -> list[tuple[Run[Any], object]]:
    """Ask about runs, some at once; return each with what was answered or raised."""

    async def ask_about(run: Run[Any]) -> tuple[Run[Any], object]:
        try:
            return run, await ask(run)
        except Exception as error:
            _log.debug("an outcome could not be fetched: %s", error)
            return run, error

    return await map_bounded(ask_about, runs, _RECOVERY_REQUESTS)


def disconnected(run: Run[Any]) -> BrokerUnavailable:
    """Return the error for whoever asks through a connection that is closed."""
    return BrokerUnavailable(
        f"this process has disconnected: get_run({run.run_id!r}) connects again "
        f"and returns a new handle"
    )
