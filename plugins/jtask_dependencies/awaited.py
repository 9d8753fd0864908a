"""Which runs are waited for, so that all the others end at no cost.

Whoever parks a run tells the living workers first under which id, and looks once more whether that
run is over, once it is parked. So a worker that stores an end either was told before, or that look
finds it, or it hears of it a moment later and finds it among those that it has just settled. A
worker that may have missed something learns what is parked first; what ends meanwhile waits for
that, and where it cannot be learned, every run counts as awaited.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from jtask.background import BackgroundTasks
from jtask.contract import Broker, RunQueue, Subscription
from jtask.errors import BrokerError
from jtask.runtime import WorkerHandle
from jtask.stored_ends import StoredEnd

PREFIX = "run-"
"""What keys begin with that runs are parked under; the id of the awaited one follows."""
LONGEST_WAIT = 600.0
"""Seconds until a run that nobody wakes looks for itself, at most."""

_TOPIC = "awaited"
_MARGIN = 60.0  # seconds that a run may take to look for itself
_RECENT = 2000  # runs that ended here, in the moment that news may take
_RETRY_SECONDS = 0.5
_LONGEST_PAUSE = 30.0  # seconds
_TELL_SECONDS = 1.0
_MOST = 1_000_000  # runs that are woken together
_log = logging.getLogger("jtask")


class AwaitedRuns:
    """The runs that somebody waits for; on the I/O loop.

    Args:
        broker: Where they are.
    """

    # Not the broker: it would be kept alive by what is kept for as long as it lives.
    def __init__(self, broker: Broker) -> None:
        self._requests, self._runs = broker.requests, broker.runs
        self._until: dict[str, float] = {}
        """For how long each counts as awaited, on the monotonic clock; in that order."""
        # In two halves, so that the older one goes in one step.
        self._recent, self._less_recent = set[str](), set[str]()
        self._telling = Counter[str]()
        self._gaps = 1
        self._is_tried = asyncio.Event()
        """Unless it is being learned just now what is parked."""
        self._is_tried.set()
        self._users = 0
        self._subscription: Subscription | None = None
        self._background = BackgroundTasks()

    async def open(self) -> None:
        """Begin to hear; once more for each worker.

        Raises:
            BrokerError: The broker does not answer.
        """
        self._users += 1
        if self._users == 1:
            self._subscription = await self._requests.listen(_TOPIC, self._on_news, self._on_gap)
            self._begin_to_learn()

    async def close(self) -> None:
        """Hear no more, once the last worker is over."""
        self._users -= 1
        if self._users == 0 and self._subscription is not None:
            self._background.cancel()
            self._gaps = 1
            self._is_tried.set()
            await self._subscription.close()
            self._subscription = None

    def ended(self, run_id: str) -> Awaitable[None] | None:
        """Return what wakes those who wait for a run whose end was stored here.

        Returns:
            Awaitable[None] | None: None, as nearly always, if nobody does.
        """
        self._recent.add(run_id)
        if len(self._recent) > _RECENT:
            self._recent, self._less_recent = set[str](), self._recent
        if run_id in self._until:
            return wake(self._runs, run_id)
        return self._wake_if_awaited(run_id) if self._gaps else None

    async def _wake_if_awaited(self, run_id: str) -> None:
        # Thousands of runs may end meanwhile: asking for each would take longer than learning of
        # all, and would hold that up.
        await self._is_tried.wait()
        if self._gaps or run_id in self._until:
            await wake(self._runs, run_id)

    async def tell(self, run_id: str) -> None:
        """Tell all workers that a run is awaited."""
        self._add(run_id)
        self._telling[run_id] += 1
        try:
            # Only this process answers, which proves that it went out to all.
            while self._subscription is not None and not await self._ask(run_id):
                _log.debug("it is told again that run %s is awaited", run_id)
        finally:
            self._telling[run_id] -= 1
            self._telling += Counter()  # drops what is zero

    async def _ask(self, run_id: str) -> bool:
        try:
            question = run_id.encode()
            return bool(
                await self._requests.ask(_TOPIC, question, timeout=_TELL_SECONDS, answers=1)
            )
        except BrokerError:
            await asyncio.sleep(_RETRY_SECONDS)
            return False

    def _add(self, run_id: str) -> None:
        now = time.monotonic()
        self._until.pop(run_id, None)
        # By then whoever waits has looked, and told it anew.
        self._until[run_id] = now + LONGEST_WAIT + _MARGIN
        while (first := next(iter(self._until))) and self._until[first] < now:
            del self._until[first]

    def _on_news(self, question: bytes) -> bytes | None:
        run_id = question.decode(errors="replace")
        self._add(run_id)
        if run_id in self._recent or run_id in self._less_recent:
            self._background.start(self._wake(run_id))
        return b"heard" if run_id in self._telling else None

    async def _wake(self, run_id: str) -> None:
        try:
            await wake(self._runs, run_id)
        except BrokerError as error:
            _log.debug("who waits for run %s is woken late: %s", run_id, error)

    def _on_gap(self) -> None:
        self._gaps += 1
        if self._gaps == 1:
            self._begin_to_learn()

    def _begin_to_learn(self) -> None:
        self._is_tried.clear()
        self._background.start(self._learn())

    async def _learn(self) -> None:
        """Learn what is parked."""
        pause = _RETRY_SECONDS
        while self._gaps:
            gaps = self._gaps
            self._is_tried.clear()
            try:
                for key in await self._runs.parked_keys(PREFIX):
                    self._add(key.removeprefix(PREFIX))
            except Exception as error:  # of a stream that is not what it should be, too
                # Longer each time: it may not be allowed to.
                _log.debug("cannot learn yet which runs are awaited: %s", error)
                self._is_tried.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._gaps -= gaps
                self._is_tried.set()


_awaited: WeakKeyDictionary[Broker, AwaitedRuns] = WeakKeyDictionary()


def awaited_at(broker: Broker) -> AwaitedRuns:
    """Return what is known of the runs that are awaited at a broker, made by the first use."""
    return _awaited.setdefault(broker, AwaitedRuns(broker))


@asynccontextmanager
async def watching(worker: WorkerHandle) -> AsyncGenerator[None]:
    """Hear which runs are awaited while a worker lives."""
    awaited = awaited_at(worker.broker)
    try:
        await worker.on_io(awaited.open())
        yield
    finally:
        await worker.on_io(awaited.close())


def on_stored(end: StoredEnd) -> Awaitable[None] | None:
    """Return what wakes those who wait for a run; None, as nearly always, if nobody does.

    Args:
        end: The run's.
    """
    if end.is_news and (awaited := _awaited.get(end.broker)) is not None:
        return awaited.ended(end.run_id)
    return wake(end.broker.runs, end.run_id)


async def wake(runs: RunQueue, run_id: str) -> None:
    """Wake those who wait for a run; they look for themselves whether they are ready.

    Raises:
        BrokerError: The broker does not answer.
    """
    await runs.wake(f"{PREFIX}{run_id}", _MOST, first=False)
