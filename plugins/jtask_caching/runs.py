"""Look a run up, let one of several with the same key start, and keep its value."""

import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from jtask.cache_policies import CacheKeyFnPolicy
from jtask.client import connected_client, current_client, get_client
from jtask.errors import BrokerError, BrokerUnavailable
from jtask.lifecycle import Park, Retry, describe
from jtask.outcomes import Outcome
from jtask.rate_limited_log import RateLimitedLog
from jtask.serialization.codecs import codecs_of
from jtask.states import State, StateName
from jtask_caching.absence import Absence
from jtask_caching.plan import Plan, key_of, plan_of
from jtask_caching.store import Cache, Entry, lock_name

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask.runtime import RunContext

T = TypeVar("T")
_NOTE = "jtask_caching"
_WAY_OUT = '; leave the argument out with `INPUTS - "name"`, or give a cache_key_fn'
_NEEDS_LOCK = "jtask_caching.needs_lock"
_LONGEST_WAIT = 600.0  # seconds until a run that nobody wakes looks for itself
_uncached = RateLimitedLog(60.0)
_log = logging.getLogger("jtask")


async def look_up(run: "RunContext") -> Outcome | None:
    """Return the value that is kept for a run as its outcome; None to execute it."""
    plan = _plan(run)
    key = _key(plan, run)
    if key is None or plan.refreshes:
        return None
    found = await _find(key, run)
    if found is None or found.payload is None or found.serializer != run.task.serializer:
        return None
    if plan.is_serializable and run.waited_for:
        # It may have been woken with the lock in its name, and alone: the value came from a run
        # that has no lock.
        await _give_back(key, run, wake_all=True)
    payload, decode = found.payload, codecs_of(run.task).result.decode
    state = State(
        StateName.CACHED,
        time.time(),
        f"its value was computed by run {found.run_id}",
        # For state hooks that ask: on its way to the caller the value stays as it is stored.
        load=lambda _: decode(payload),
    )
    # A direct call returns it.
    return Outcome(state, None if run.queue else decode(payload), payload=payload)


def is_exclusive(run: "RunContext") -> bool:
    """Tell whether a run needs the lock of its key: one of several is executed."""
    plan = _plan(run)
    if not plan.is_serializable or (key := _key(plan, run)) is None:
        return False
    if _NEEDS_LOCK not in run.notes:
        run.notes[_NEEDS_LOCK] = not _is_computed_by_caller(key, run)
    needs_lock: bool = run.notes[_NEEDS_LOCK]
    return needs_lock


async def admit(run: "RunContext") -> Retry | Park | None:
    """Let a run start if it gets the lock of its key.

    Raises:
        BrokerError: The broker cannot tell. A direct call is executed then, without the lock.
    """
    try:
        return await _admit(run)
    except BrokerError:
        if run.queue is not None:
            raise
        run.notes[_NEEDS_LOCK] = False
        return None


async def _admit(run: "RunContext") -> Retry | Park | None:
    plan, key = _plan(run), str(run.notes[_NOTE])
    name = lock_name(key)
    if not await _asked(
        run, lambda client: client.slots.take_or_park(name, run.run_id, 1, run.token)
    ):
        until, slots = time.time() + _LONGEST_WAIT, get_client().slots
        return Park(
            name, until, "another run computes the same value", lambda: slots.watch(name, _one)
        )
    # Whoever had it may have ended since the run was looked up.
    if not plan.refreshes and await _find(key, run) is not None:
        await _give_back(key, run, wake_all=True)
        return Retry(time.time(), "its value has just been computed")
    return None


async def let_go(run: "RunContext") -> None:
    """Give the lock of a run back: to the next one that waits, unless there is a value for all.

    That of a lost worker's run too: the run may end without another attempt.
    """
    key = str(run.notes[_NOTE])
    done = run.state is not None and run.state.name is StateName.COMPLETED
    await _give_back(key, run, wake_all=done)


def write_down(run: "RunContext", outcome: Outcome) -> None:
    """Write the value of a run that is to be kept, as it is now."""
    if outcome.payload is None and run.notes.get(_NOTE) is not None:
        outcome.payload = codecs_of(run.task).result.encode(outcome.value)


async def keep(run: "RunContext", outcome: Outcome) -> None:
    """Keep the value of a run that was executed."""
    key = run.notes.get(_NOTE)
    if key is None:
        return
    plan, now = _plan(run), time.time()
    payload = outcome.payload
    if payload is None:
        return  # it could not be written
    entry = Entry(
        key,
        run.task.name,
        run.run_id,
        now,
        None if plan.expiration is None else now + plan.expiration,
        run.task.serializer,
        len(payload),
        payload,
    )
    await _asked(run, lambda client: client.io.bridge(Cache(client.broker).put(entry)))


def _is_computed_by_caller(key: str, run: "RunContext") -> bool:
    """Tell whether the run was called by one that has the lock of its key: to wait is for ever."""
    for caller in run.callers():
        plan = plan_of(caller.task)
        if plan is not None and plan.is_serializable and _key(plan, caller) == key:
            return True
    return False


async def _one() -> int:
    return 1


async def _find(key: str, run: "RunContext") -> Entry | None:
    return await _asked(run, lambda client: client.io.bridge(Cache(client.broker).get(key)))


async def _give_back(key: str, run: "RunContext", *, wake_all: bool) -> None:
    name, token = lock_name(key), run.token
    await _asked(
        run,
        lambda client: client.slots.give_back(name, run.run_id, 1, token, wake_all=wake_all),
    )


def _plan(run: "RunContext") -> Plan:
    plan = plan_of(run.task)
    assert plan is not None  # or the plugin would not be asked
    return plan


def _key(plan: Plan, run: "RunContext") -> str | None:
    """Compute the key of a run once: what its function does to its arguments must not change it."""
    if _NOTE in run.notes:
        known: str | None = run.notes[_NOTE]
        return known
    try:
        key = key_of(plan, run)
    except Exception as error:
        key = None
        if count := _uncached.count(run.task.key):
            _log.warning(
                "runs of task %r are not cached (%d since the last line): %s%s",
                run.task.name,
                count,
                describe(error),
                "" if isinstance(plan.policy, CacheKeyFnPolicy) else _WAY_OUT,
            )
    run.notes[_NOTE] = key
    return key


async def _asked(run: "RunContext", ask: Callable[["Client"], Awaitable[T]]) -> T:
    """Return what the broker answers.

    A run waits for it as for everything else. A direct call is worth no long wait: what it asks for
    it can do without.

    Raises:
        BrokerError: The broker does not answer.
    """
    if run.queue is not None:
        return await ask(get_client())
    if _absence.lasts():
        raise BrokerUnavailable("the broker has not answered of late")
    try:
        return await ask(await connected_client())
    except BrokerUnavailable:
        _absence.begin()
        raise


async def _look_whether_it_is_back() -> None:
    client = await connected_client()
    await client.io.bridge(Cache(client.broker).get("is the broker back"))


_absence = Absence(_look_whether_it_is_back, current_client)
# What asks in the background stays with the parent.
os.register_at_fork(after_in_child=_absence.end)
