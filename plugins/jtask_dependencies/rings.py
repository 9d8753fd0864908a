"""Runs that wait for each other: only ids that were made by hand can do that.

Of the runs of a ring, one at least waits for a run whose id is greater than its own, while ids that
`delay` makes grow. So only who does that looks for a ring, and all the others pay nothing.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from jtask.client.cancel_requests import readable
from jtask.contract import Broker
from jtask.needs import Needs

_MOST = 1000  # runs that are looked at
_TOGETHER = 100  # runs that are asked for at once
_MOST_NAMED = 10  # runs of a ring that a message names


@dataclass(frozen=True, slots=True)
class Ways:
    """Where the ways lead that a run waits for others on, directly and in turn.

    Attributes:
        ring: The runs from the one that was asked for to the one that waits for the first, in
            order; empty when there is no ring.
        is_whole: Whether nothing is missing that may close a ring later, when it is sent.
    """

    ring: tuple[str, ...] = ()
    is_whole: bool = True

    def __str__(self) -> str:
        first, *others = self.ring
        steps = [f"waits for run {run_id}" for run_id in (*others, first)]
        if (more := len(others) - _MOST_NAMED) > 0:
            last = f"waits for {more} more in turn, of which the last waits for run {first}"
            steps[_MOST_NAMED:] = [last]
        return f"run {first} {', which '.join(steps)}"


def may_be_in_ring(run_id: str, awaited: str) -> bool:
    """Tell whether a run waits for another in a way that each ring has somewhere.

    Args:
        run_id: The run.
        awaited: The one that it waits for.
    """
    return awaited > run_id


async def look_upstream(broker: Broker, run_id: str, awaited: str) -> Ways:
    """Look along what a run waits for whether it waits for itself; on the I/O loop.

    Args:
        broker: Where they are.
        run_id: The run.
        awaited: One that it waits for, and that is not over.

    Raises:
        BrokerError: The broker does not answer.
    """
    before = {awaited: run_id}
    ahead, is_whole = [awaited], True
    while ahead and len(before) < _MOST:
        looked, ahead = ahead[:_TOGETHER], ahead[_TOGETHER:]
        for current, needs in zip(looked, await _needs_of_all(broker, looked), strict=True):
            is_whole &= needs is not None
            for other in needs.run_ids if needs is not None else ():
                if other == run_id:
                    return Ways((run_id, *_path(before, current, run_id)))
                if other not in before:
                    before[other] = current
                    ahead.append(other)
    return Ways(is_whole=is_whole)


def _path(before: dict[str, str], last: str, first: str) -> tuple[str, ...]:
    """Return the runs from the one after the first to the last, in order."""

    def backwards() -> Iterator[str]:
        one = last
        while one != first:
            yield one
            one = before[one]

    return tuple(backwards())[::-1]


async def _needs_of_all(broker: Broker, run_ids: list[str]) -> list[Needs | None]:
    return await asyncio.gather(*(_needs_of(broker, run_id) for run_id in run_ids))


async def _needs_of(broker: Broker, run_id: str) -> Needs | None:
    """Return what a run still waits for; None if nobody knows the run."""
    place = await broker.queues.locate(run_id)
    if place is not None:
        return readable(run_id, place.run.body).needs or Needs()
    return None if await broker.results.get(run_id) is None else Needs()
