"""Whether the runs that a run waits for are over; if not, under which of them it is parked."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from jtask.client import Client, get_client
from jtask.client.whereabouts import find_lost_outcome
from jtask.contract import Broker, OutcomeRecord
from jtask.errors import RunNotFound, RunNotReady
from jtask.lifecycle import Park
from jtask.needs import Needs
from jtask.outcomes import SettledRun, Upstreams
from jtask.randomness import RANDOM
from jtask.runtime import RunContext
from jtask.states import State, StateName
from jtask.wire.envelope import decode_outcome
from jtask_dependencies.awaited import LONGEST_WAIT, PREFIX, awaited_at, wake
from jtask_dependencies.rings import look_upstream, may_be_in_ring

_SPREAD = (0.8, 1.0)  # so that those that were sent together do not look together
_TOGETHER = 100  # runs that are asked for at once
_SHORTEST_WAIT = 1.0  # seconds


async def resolve(run: RunContext, needs: Needs) -> Upstreams | Park:
    """Return the ends of all runs that a run waits for, or park it under one that goes on.

    Args:
        run: The run.
        needs: What it waits for.

    Raises:
        RunNotReady: One of them is not known, or it waits for itself, perhaps by way of others.
    """
    if run.run_id in needs.run_ids:
        raise RunNotReady(f"run {run.run_id} waits for itself, which never ends")
    client = get_client()
    return await client.io.bridge(_resolve(client, run, needs))


async def _resolve(client: Client, run: RunContext, needs: Needs) -> Upstreams | Park:
    broker, ends = client.broker, dict[str, SettledRun]()
    for run_ids in _from_the_last(needs.run_ids):
        found = await asyncio.gather(*map(broker.results.get, run_ids))
        for run_id, outcome in zip(run_ids, found, strict=True):
            end = _read(outcome) if outcome is not None else await _lost_end(broker, needs, run_id)
            if end is None:
                return await _park(client, run, run_id)
            ends[run_id] = end
    return {run_id: await _with_value(client, ends[run_id], needs) for run_id in needs.run_ids}


def _from_the_last(run_ids: Sequence[str]) -> Iterator[list[str]]:
    """Yield ids in groups, the last ones first: what was sent last is over last, most likely."""
    backwards = run_ids[::-1]
    yield list(backwards[:1])
    for start in range(1, len(backwards), _TOGETHER):
        yield list(backwards[start : start + _TOGETHER])


def _read(outcome: OutcomeRecord) -> SettledRun:
    return decode_outcome(outcome.body)


async def _lost_end(broker: Broker, needs: Needs, run_id: str) -> SettledRun | None:
    """Return the end of a run that has no outcome; None if that can still come."""
    try:
        outcome = await find_lost_outcome(broker, run_id)
    except RunNotFound as error:
        if run_id not in needs.may_fail:
            reason = f"the end of run {run_id}, which it waited for, is not known: {error}"
            raise RunNotReady(reason) from None
        return _unknown(run_id, str(error))
    return None if outcome is None else _read(outcome)


def _unknown(run_id: str, reason: str) -> SettledRun:
    now = time.time()
    state = State(StateName.CRASHED, now, reason)
    return SettledRun(run_id, "", "", state, 1, now, None, now, 0.0, "", "json")


async def _park(client: Client, run: RunContext, awaited: str) -> Park:
    longest = await _longest_wait(client.broker, run, awaited)
    # Before it is parked: should this process die right then, the others know who is to be woken.
    await awaited_at(client.broker).tell(awaited)
    return Park(
        f"{PREFIX}{awaited}",
        time.time() + longest * RANDOM.uniform(*_SPREAD),
        f"it waits for run {awaited}",
        lambda: client.io.bridge(_look_again(client.broker, awaited)),
    )


async def _longest_wait(broker: Broker, run: RunContext, awaited: str) -> float:
    """Return the seconds after which a run looks for itself.

    Raises:
        RunNotReady: It would wait for ever.
    """
    if not may_be_in_ring(run.run_id, awaited):
        return LONGEST_WAIT
    found = await look_upstream(broker, run.run_id, awaited)
    if found.ring:
        raise RunNotReady(f"{found}: none of them can ever begin")
    if found.is_whole:
        return LONGEST_WAIT
    # A ring may be half sent. By its age, so that it seldom looks if that lasts.
    age = time.time() - run.created_at
    return min(max(age, _SHORTEST_WAIT), LONGEST_WAIT)


async def _look_again(broker: Broker, run_id: str) -> None:
    """Wake the run if what it waits for has come about before it was parked."""
    if await broker.results.get(run_id) is not None:
        await wake(broker.runs, run_id)


async def _with_value(client: Client, end: SettledRun, needs: Needs) -> SettledRun:
    """Return an end with a value that is kept apart, if that is wanted."""
    if end.blob is None or end.run_id not in needs.taken:
        return end
    return replace(end, payload=await client.load_blob(end), blob=None)
