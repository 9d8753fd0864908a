"""Count the runs of queues, from the server's consumers and subjects."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jtask.contract import DEFAULT_PRIORITY, Pause, QueueInfo, check_queue, is_name
from jtask.ids import is_run_id
from jtask_nats.client.direct_reads import count
from jtask_nats.client.jetstream_api import call_known_stream, list_subjects
from jtask_nats.queues.register import QueueRegister
from jtask_nats.streams.session import Session
from jtask_nats.streams.stream_configs import Stream
from jtask_nats.streams.subjects import PRIORITIES, Subjects, last_token

_TRIES = 4
"""How often a sum is taken that does not come out, as runs come and go."""
Level = tuple[str, str]
"""A queue and one of its priorities, as they stand in a subject."""


class Extent(NamedTuple):
    """How much there is in all streams; while it is the same, nothing was stored or removed."""

    messages: int
    last_sequences: tuple[int, ...]


class ConsumerCounts(NamedTuple):
    """The counts of the consumer of one priority.

    Attributes:
        pending: Runs not delivered.
        in_hand: Runs delivered and not settled, with those that were released.
        was_used: Whether somebody pulls or has pulled from it.
    """

    level: Level
    pending: int
    in_hand: int
    was_used: bool


class Counts(NamedTuple):
    """How many runs are where.

    Attributes:
        served: What the consumers say.
        unserved: Runs that wait at a priority without a consumer, by queue.
        delayed: Runs whose time has not come, by queue.
    """

    served: Sequence[ConsumerCounts]
    unserved: Counter[str]
    delayed: Counter[str]

    @property
    def total(self) -> int:
        """How many there are."""
        held = sum(one.pending + one.in_hand for one in self.served)
        return held + self.unserved.total() + self.delayed.total()


class QueueCounts:
    """The part of a `jtask.contract.Queues` that counts runs.

    Runs behind a consumer are counted by it; those of a queue without one, and delayed ones, by the
    number of their subjects. When that is not all there is, the subjects are listed, one for each
    run.

    Args:
        session: To the server.
        register: Knows the queues that nobody serves.
    """

    def __init__(self, session: Session, register: QueueRegister) -> None:
        self._session = session
        self._register = register

    async def list(self) -> list[QueueInfo]:
        """Return all queues that hold runs, are or were served, or are paused, by name."""
        topology = self._session.topology
        await topology.ensure_runs()
        await topology.ensure(Stream.RECORDS)
        pauses, names = await asyncio.gather(topology.pauses.all(), self._register.names())
        tries = 0
        while True:
            before = await self._extent()
            counts = await self._counted(names)
            if counts.total == before.messages:
                break
            if await self._extent() == before:
                counts = await self._with_listed(counts.served)
                break
            tries += 1
            if tries == _TRIES:
                # Runs come and go all the time. To list subjects costs a line for each, and a
                # server with a million of them serves nobody else for seconds.
                break
        return queue_infos(counts.served, counts.unserved, counts.delayed, pauses)

    async def depth(self, queue: str) -> int:
        """Count the runs of a queue that wait or are being executed."""
        check_queue(queue)
        topology = self._session.topology
        await topology.ensure_consumer(queue, DEFAULT_PRIORITY, owner=False)
        found = await topology.consumers.priorities([queue])
        return sum(await asyncio.gather(*(self._load(*one) for one in found)))

    async def _load(self, queue: str, priority: int) -> int:
        info = await self._session.topology.consumers.find(queue, priority)
        return 0 if info is None else int(info["num_pending"]) + int(info["num_ack_pending"])

    async def _extent(self) -> Extent:
        session = self._session
        asked = (f"STREAM.INFO.{stream}" for stream in session.topology.run_streams.names)
        infos = await asyncio.gather(
            *(call_known_stream(session.connection, suffix) for suffix in asked)
        )
        states = [info["state"] for info in infos]
        return Extent(
            sum(state["messages"] for state in states),
            tuple(state["last_seq"] for state in states),
        )

    async def _counted(self, names: set[str]) -> Counts:
        """Count what consumers know of, and what is at the places of some queues."""
        infos = await self._session.topology.consumers.all()
        served = [counts for info in infos if (counts := read_counts(info)) is not None]
        unserved = await self._unserved(names, served)
        delayed = await self._delayed(names.union(one.level[0] for one in served))
        return Counts(served, unserved, delayed)

    async def _with_listed(self, served: Sequence[ConsumerCounts]) -> Counts:
        """Count what consumers know of, and all else by its subject."""
        queued, delayed = await self._listed()
        for one in served:
            # Its consumer has counted them, and knows which are held.
            queued.pop(one.level, None)
        unserved = Counter[str]()
        for (queue, _), runs in queued.items():
            unserved[queue] += runs
            self._register.note(queue)
        return Counts(served, unserved, delayed)

    async def _unserved(
        self, names: Iterable[str], served: Sequence[ConsumerCounts]
    ) -> Counter[str]:
        """Count the waiting runs of queues that have no consumer."""
        have = {one.level for one in served}
        # For any other priority there is a consumer before there is a run.
        normal = str(DEFAULT_PRIORITY)
        alone = [name for name in names if (name, normal) not in have]
        queued = self._session.subjects.queued
        return await self._count([(name, queued(name, normal, "*")) for name in alone])

    async def _delayed(self, names: Iterable[str]) -> Counter[str]:
        """Count the delayed and the parked runs of some queues."""
        subjects = self._session.subjects
        delayed = Counter[str]()
        for place in (subjects.delayed, subjects.parked_by_any):
            # Mostly there are none: one question for each stream in place of one for each queue.
            if await self._is_any(place("*")):
                delayed += await self._count([(name, place(name)) for name in names])
        return delayed

    async def _is_any(self, subject: str) -> bool:
        session = self._session
        streams = session.topology.run_streams.names
        counts = await asyncio.gather(*(count(session.connection, one, subject) for one in streams))
        return any(counts)

    async def _count(self, places: Sequence[tuple[str, str]]) -> Counter[str]:
        """Count the runs at subjects that each belong to a queue; by queue."""
        session = self._session
        stream_of = session.topology.run_streams.of
        counts = await asyncio.gather(
            *(count(session.connection, stream_of(queue), subject) for queue, subject in places)
        )
        return Counter({queue: runs for (queue, _), runs in zip(places, counts, strict=True)})

    async def _listed(self) -> tuple[Counter[Level], Counter[str]]:
        """Count the runs on queues by level and the delayed ones by queue, from all subjects."""
        queued, delayed = Counter[Level](), Counter[str]()
        session, subjects = self._session, self._session.subjects
        for stream in session.topology.run_streams.names:
            listed = list_subjects(session.connection, stream, subjects.runs("*"))
            async for subject, runs in listed:
                level = level_of(subject)
                if not is_place(subjects, subject):
                    continue
                if subjects.is_schedule(subject):
                    delayed[level[0]] += runs
                else:
                    queued[level] += runs
        return queued, delayed


def queue_infos(
    served: Sequence[ConsumerCounts],
    unserved: Mapping[str, int],
    delayed: Mapping[str, int],
    pauses: Mapping[str, Pause],
) -> list[QueueInfo]:
    """Put together what is known of the queues.

    Args:
        served: What the consumers say.
        unserved: Runs that wait at a priority without a consumer, by queue.
        delayed: Runs whose time has not come, by queue.
        pauses: The paused queues.
    """
    waiting, executing = Counter(unserved), Counter[str]()
    for one in served:
        waiting[one.level[0]] += one.pending
        executing[one.level[0]] += one.in_hand
    used = {one.level[0] for one in served if one.was_used}
    holding = {name for counts in (waiting, executing, delayed) for name in counts if counts[name]}
    return [
        QueueInfo(name, waiting[name], executing[name], delayed.get(name, 0), pauses.get(name))
        for name in sorted(used | holding | pauses.keys())
    ]


def read_counts(info: Mapping[str, Any]) -> ConsumerCounts | None:
    """Read what the server says of a consumer; None for one that is none of ours."""
    level = level_of(info["config"].get("filter_subject", ""))
    if not is_level(*level):
        return None
    return ConsumerCounts(
        level,
        info["num_pending"],
        info["num_ack_pending"],
        bool(info["num_waiting"] or info["delivered"]["consumer_seq"]),
    )


def level_of(subject: str) -> Level:
    """Return the queue and the priority in a run's subject; see `is_level`."""
    queue, _, priority = subject.rpartition(".")[0].rpartition(".")
    return last_token(queue), priority


def is_level(queue: str, priority: str) -> bool:
    """Tell whether that is a queue and a priority: whoever may publish can put anything there."""
    return is_name(queue) and priority in PRIORITIES


def is_place(subjects: Subjects, subject: str) -> bool:
    """Tell whether a run can be there; a parked one has a key in place of its priority."""
    queue, priority = level_of(subject)
    return is_name(queue) if subjects.is_parked(subject) else is_level(queue, priority)


def is_run(subjects: Subjects, subject: str) -> bool:
    """Tell whether a subject is one of a run."""
    return is_place(subjects, subject) and is_run_id(last_token(subject))
