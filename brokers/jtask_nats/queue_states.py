"""How the queues stand, from what the server knows of consumers and subjects."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jtask.contract import QueueInfo
from jtask_nats.direct_reads import count
from jtask_nats.link import Link
from jtask_nats.topology import Store

Level = tuple[str, str]
"""A queue and one of its priorities, as they stand in a subject."""


class Served(NamedTuple):
    """What a consumer says of one priority of a queue.

    Attributes:
        pending: Runs not delivered.
        in_hand: Runs delivered and not settled, those handed back among them.
        was_used: Whether somebody pulls or has pulled from it.
    """

    level: Level
    pending: int
    in_hand: int
    was_used: bool


class NatsQueueStates:
    """Count the runs of every queue.

    Runs behind a consumer are counted by it, and delayed runs of a queue that has one by their
    subjects' number. Only where that is not all there is are the subjects listed, one for each run.

    Args:
        link: To the server.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def queues(self) -> list[QueueInfo]:
        """Return all queues that hold runs, are or were served, or are paused, by name."""
        link, topology = self._link, self._link.topology
        await topology.ensure(Store.RUNS, Store.RECORDS)
        infos, pauses = await asyncio.gather(topology.consumer_infos(), topology.pauses.all())
        served = [served_of(info) for info in infos]
        delayed = await self._delayed({one.level[0] for one in served})
        known = {one.level for one in served}
        waiting = Counter[str]()
        if await self._count(link.subjects.all_queued) != sum(
            one.pending + one.in_hand for one in served
        ):
            for (queue, priority), runs in (await self._listed(link.subjects.all_queued)).items():
                if (queue, priority) not in known:
                    waiting[queue] += runs
        return states(served, waiting, delayed, pauses)

    async def _delayed(self, queues: set[str]) -> Counter[str]:
        subjects = self._link.subjects
        total = await self._count(subjects.all_schedules)
        if not total:
            return Counter()
        names = sorted(queues)
        counts = await asyncio.gather(
            *(self._count(subjects.schedule(name, "*", "*")) for name in names)
        )
        delayed = Counter(dict(zip(names, counts, strict=True)))
        if delayed.total() != total:
            delayed.clear()
            for (queue, _), runs in (await self._listed(subjects.all_schedules)).items():
                delayed[queue] += runs
        return delayed

    async def _count(self, subject: str) -> int:
        link = self._link
        return await count(link.connection, link.topology.stream(Store.RUNS), subject)

    async def _listed(self, subject: str) -> Counter[Level]:
        """Count runs by level, from the list of all their subjects."""
        found = Counter[Level]()
        offset = 0
        stream = self._link.topology.stream(Store.RUNS)
        while True:
            answer = await self._link.connection.api(
                f"STREAM.INFO.{stream}", {"subjects_filter": subject, "offset": offset}
            )
            page: dict[str, int] = answer["state"].get("subjects") or {}
            for one, runs in page.items():
                found[level_of(one)] += runs
            offset += len(page)
            if not page or offset >= answer.get("total", 0):
                return found


def states(
    served: Sequence[Served],
    unserved: Mapping[str, int],
    delayed: Mapping[str, int],
    pauses: Mapping[str, float],
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


def served_of(info: Mapping[str, Any]) -> Served:
    """Read what the server says of a consumer."""
    return Served(
        level_of(info["config"]["filter_subject"]),
        info["num_pending"],
        info["num_ack_pending"],
        bool(info["num_waiting"] or info["delivered"]["consumer_seq"]),
    )


def level_of(subject: str) -> Level:
    """Return the queue and the priority in a run's subject."""
    _, queue, priority, _ = subject.rsplit(".", 3)
    return queue, priority
