"""Which run is next: the queues as plain data, without locks, loops or a clock."""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from jtask.contract import TOP_PRIORITY, Message, Pause, QueueInfo, RunPlace, WaitingRun
from jtask_memory.storage.ttl_dict import TTLDict

# As on a server, where each id costs memory: a program must not rely on more.
DEDUP_WINDOW = 30.0
"""Seconds for which a run id that was stored is not stored again."""


class Claim(NamedTuple):
    """One delivery of one run; settles the run unless it was delivered again since.

    Attributes:
        run_id: Of the run.
        queue: Of the run.
        body: The envelope.
        priority: 0 to 9.
        deliveries: How often the run was delivered, this time included.
        number: Of this claim.
        token: What the run was given when it was woken.
    """

    run_id: str
    queue: str
    body: bytes
    priority: int
    deliveries: int
    lost_workers: int
    number: int
    token: str | None = None


class _State(Enum):
    WAITING = "waiting"
    DELAYED = "delayed"
    HELD = "held"


_Rank = tuple[int, float, int]
"""Lowest first: the priority reversed, `since`, and the order of arrival."""


@dataclass(slots=True)
class _Run:
    run_id: str
    queue: str
    body: bytes
    priority: int
    since: float
    """When it could or can first be delivered."""
    order: int
    state: _State = _State.WAITING
    deliveries: int = 0
    lost_workers: int = 0
    claim: int = 0
    """Number of the claim that may settle it; stays after a release until the next one."""
    is_new: bool = True
    """Whether no worker has had it."""
    is_first: bool = False
    """Whether it was woken: it has waited already."""
    token: str | None = None
    """What it was given when it was woken."""
    key: str | None = None
    """What it is parked under; None when it is not."""
    ticket: int = 0
    """Number of its only valid heap item; earlier ones are skipped when they come up."""

    @property
    def rank(self) -> _Rank:
        priority = TOP_PRIORITY if self.is_first else self.priority
        return (-priority, self.since, self.order)

    def state_at(self, now: float) -> _State:
        """Return where it is; what has come due since the last look is not delayed any more."""
        due = self.state is _State.DELAYED and self.since <= now
        return _State.WAITING if due else self.state

    def as_waiting(self, now: float) -> WaitingRun:
        """Return it as the contract shows it."""
        at = self.since if self.since > now else None
        is_parked = self.key is not None and at is not None
        return WaitingRun(self.run_id, self.queue, at, self.body, self.token, is_parked)


_Ranked = tuple[_Rank, int, _Run]
_Dated = tuple[float, int, _Run]
"""Items of a heap; their second value is the ticket."""


@dataclass(slots=True)
class _Lane:
    """One queue; both lists are heaps."""

    waiting: list[_Ranked] = field(default_factory=list[_Ranked])
    delayed: list[_Dated] = field(default_factory=list[_Dated])


class Backlog:
    """All runs that wait, are delayed or are held. Each is in exactly one of these places."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._lanes: dict[str, _Lane] = {}
        self._pauses: dict[str, Pause] = {}
        self._parked: dict[str, dict[str, _Run]] = {}
        """By key, then by run id, in the order of parking."""
        self._stored: TTLDict[bool] = TTLDict()
        self._numbers = itertools.count(1)

    def add(self, message: Message, now: float) -> bool:
        """Store a run; False when it was stored before."""
        run_id = message.run_id
        if run_id in self._runs or self._stored.get(run_id, now):
            return False
        self._stored.put(run_id, True, now, now + DEDUP_WINDOW)  # noqa: FBT003 - a value
        # Not before now: who asks for an instant in the past must not overtake those who wait.
        since = now if message.at is None else max(message.at, now)
        run = _Run(
            run_id,
            message.queue,
            message.body,
            message.priority,
            since,
            order=next(self._numbers),
        )
        self._runs[run_id] = run
        self._insert(run, now)
        if message.parked_under is not None:
            self._park(run, message.parked_under)
        return True

    def replace(self, message: Message, now: float) -> bool:
        """Change a delayed run that no worker has had yet; False when there is none."""
        run = self._runs.get(message.run_id)
        if run is None or not run.is_new or run.state_at(now) is not _State.DELAYED:
            return False
        if (run.queue, run.priority) != (message.queue, message.priority):
            return False
        run.body = message.body
        run.since = now if message.at is None else max(message.at, now)
        self._insert(run, now)
        return True

    def take(self, queues: Iterable[str], now: float) -> Claim | None:
        """Claim the next run of some queues: highest priority first, then the longest waiting."""
        heads = (self._head(queue, now) for queue in queues if self.pause_of(queue, now) is None)
        run = min((head for head in heads if head), key=lambda head: head.rank, default=None)
        if run is None:
            return None
        heapq.heappop(self._lanes[run.queue].waiting)
        run.state, run.is_new = _State.HELD, False
        # A release counts too, as a NAK does on a server: it is not the number of lost workers.
        run.deliveries += 1
        run.claim = next(self._numbers)
        return Claim(
            run.run_id,
            run.queue,
            run.body,
            run.priority,
            run.deliveries,
            run.lost_workers,
            run.claim,
            run.token,
        )

    def remove(self, claim: Claim) -> bool:
        """Take a claimed run away for good; False when the claim was lost."""
        return self._claimed(claim) is not None and self._forget(claim.run_id)

    def release(self, claim: Claim, now: float) -> bool:
        """Let a claimed run wait again, as old as it was; False when the claim was lost."""
        # A claim outlives its release until the next one, so it may be given back twice.
        run = self._claimed(claim)
        if run is None or run.state is not _State.HELD:
            return False
        self._insert(run, now)
        return True

    def lose(self, claim: Claim, now: float) -> None:
        """Release a claimed run whose worker was lost with it."""
        if self.release(claim, now):
            self._runs[claim.run_id].lost_workers += 1

    def reschedule(self, claim: Claim, at: float, body: bytes | None, now: float) -> bool:
        """Turn a claimed run into a new message for an instant; False when the claim was lost."""
        run = self._claimed(claim)
        if run is None:
            return False
        run.body = run.body if body is None else body
        run.since = max(at, now)
        run.order = next(self._numbers)
        # A new message: the old claim must not settle it.
        run.deliveries = run.claim = 0
        run.is_first = False
        run.token = None
        self._insert(run, now)
        return True

    def park(self, claim: Claim, key: str, until: float, body: bytes | None, now: float) -> bool:
        """Let a claimed run wait until it is woken; False when the claim was lost."""
        if not self.reschedule(claim, until, body, now):
            return False
        self._park(self._runs[claim.run_id], key)
        return True

    def parked(self, key: str) -> int:
        """Count the runs that are parked under a key."""
        return len(self._parked.get(key, ()))

    def parked_keys(self, prefix: str) -> set[str]:
        """Return the keys that begin so and that runs are parked under."""
        return {key for key in self._parked if key.startswith(prefix)}

    def wake(
        self, key: str, most: int, tokens: Iterable[str], now: float, *, first: bool
    ) -> list[str]:
        """Let those wait for a worker that were parked under a key first; return their queues.

        Args:
            key: Which.
            most: How many, at most.
            tokens: What they are given, in their order.
            now: The present instant.
            first: Whether they go before what is on their queue.
        """
        woken = list(itertools.islice(self._parked.get(key, {}).values(), most))
        for run, token in itertools.zip_longest(woken, itertools.islice(tokens, len(woken))):
            run.since = now
            run.order = next(self._numbers)
            run.is_first = first
            run.token = token
            self._insert(run, now)
        return [run.queue for run in woken]

    def cancel(self, run_id: str) -> bool:
        """Take away a run that waits or is delayed; False when there is none."""
        run = self._runs.get(run_id)
        if run is None or run.state is _State.HELD:
            return False
        return self._forget(run_id)

    def depth(self, queue: str, now: float) -> int:
        """Count the runs of a queue that are held or could be delivered now."""
        return sum(
            run.state is _State.HELD or run.since <= now
            for run in self._runs.values()
            if run.queue == queue
        )

    def next_due(self, queues: Sequence[str], now: float) -> float | None:
        """Return when a delayed run of some queues comes due or a pause ends; None for never."""
        pauses = {queue: self.pause_of(queue, now) for queue in queues}
        ends = [p.until for p in pauses.values() if p is not None and p.until is not None]
        open_queues = (queue for queue, pause in pauses.items() if pause is None)
        return min([*ends, *self._first_instants(open_queues)], default=None)

    def pause(self, queue: str, until: float | None) -> None:
        """Let nothing of a queue be taken before an instant; None is until `resume`."""
        self._pauses[queue] = Pause(until)

    def resume(self, queue: str, now: float) -> bool:
        """End a pause; False when there was none."""
        paused = self.pause_of(queue, now) is not None
        self._pauses.pop(queue, None)
        return paused

    def pause_of(self, queue: str, now: float) -> Pause | None:
        """Return the pause of a queue; None when it is not paused, or no more."""
        pause = self._pauses.get(queue)
        is_over = pause is None or (pause.until is not None and pause.until <= now)
        return None if is_over else pause

    def queues(self, served: Iterable[str], now: float) -> list[QueueInfo]:
        """Return how those queues stand that hold runs, are served or are paused, by name."""
        paused = {queue for queue in self._pauses if self.pause_of(queue, now) is not None}
        holding = {run.queue for run in self._runs.values()}
        counts = Counter((run.queue, run.state_at(now)) for run in self._runs.values())
        return [
            QueueInfo(
                name,
                waiting=counts[name, _State.WAITING],
                executing=counts[name, _State.HELD],
                delayed=counts[name, _State.DELAYED],
                pause=self.pause_of(name, now),
            )
            for name in sorted({*served, *paused, *holding})
        ]

    def waiting(self, queue: str | None, now: float) -> list[WaitingRun]:
        """Return the runs of one queue or of all that nobody holds, in the order of storing."""
        runs = [
            run
            for run in self._runs.values()
            if run.state is not _State.HELD and queue in (None, run.queue)
        ]
        return [run.as_waiting(now) for run in sorted(runs, key=lambda run: run.order)]

    def find(self, run_id: str, now: float) -> WaitingRun | None:
        """Return a run that nobody holds."""
        run = self._runs.get(run_id)
        return None if run is None or run.state is _State.HELD else run.as_waiting(now)

    def locate(self, run_id: str, now: float) -> RunPlace | None:
        """Return where a run is, also one that a worker holds."""
        run = self._runs.get(run_id)
        return None if run is None else RunPlace(run.as_waiting(now), run.state is _State.HELD)

    def _park(self, run: _Run, key: str) -> None:
        if run.state is _State.DELAYED:
            run.key = key
            self._parked.setdefault(key, {})[run.run_id] = run

    def _insert(self, run: _Run, now: float) -> None:
        lane = self._lanes.setdefault(run.queue, _Lane())
        self._unpark(run)
        # Whatever the heaps still have of this run is invalid from here on.
        run.ticket = next(self._numbers)
        if run.since > now:
            run.state = _State.DELAYED
            heapq.heappush(lane.delayed, (run.since, run.ticket, run))
        else:
            run.state = _State.WAITING
            heapq.heappush(lane.waiting, (run.rank, run.ticket, run))

    def _head(self, queue: str, now: float) -> _Run | None:
        lane = self._lanes.get(queue)
        if lane is None:
            return None
        self._promote(lane, now)
        while lane.waiting:
            _, ticket, run = lane.waiting[0]
            if run.ticket == ticket:
                return run
            heapq.heappop(lane.waiting)
        return None

    def _promote(self, lane: _Lane, now: float) -> None:
        while lane.delayed and lane.delayed[0][0] <= now:
            _, ticket, run = heapq.heappop(lane.delayed)
            if run.ticket == ticket:
                # By its own instant, not by now: the longest due goes first.
                self._insert(run, now)

    def _first_instants(self, queues: Iterable[str]) -> Iterator[float]:
        for lane in filter(None, map(self._lanes.get, queues)):
            while lane.delayed and lane.delayed[0][2].ticket != lane.delayed[0][1]:
                heapq.heappop(lane.delayed)
            if lane.delayed:
                yield lane.delayed[0][0]

    def _claimed(self, claim: Claim) -> _Run | None:
        run = self._runs.get(claim.run_id)
        return run if run is not None and run.claim == claim.number else None

    def _forget(self, run_id: str) -> bool:
        # Its heap item stays and is skipped: to find it would take a search.
        run = self._runs.pop(run_id)
        run.ticket = 0
        self._unpark(run)
        return True

    def _unpark(self, run: _Run) -> None:
        if run.key is None:
            return
        parked = self._parked[run.key]
        del parked[run.run_id]
        if not parked:
            del self._parked[run.key]
        run.key = None
