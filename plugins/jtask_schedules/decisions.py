"""What becomes of a schedule when something happens: decisions only, no I/O, no clock."""

from dataclasses import replace

from jtask_schedules.schedule import Declaration, Schedule, Tick

RENEW_SECONDS = 30.0
"""How often a worker says that its code has a schedule, and looks after the schedule's run."""
LAPSE_SECONDS = 3 * RENEW_SECONDS
"""A declaration that nobody renewed for this long is no living worker's: two renewals may fail."""
OVERDUE_SECONDS = 30.0
"""A run that is late by more than this and waits nowhere is lost."""
SETTLED_AHEAD_SECONDS = 5.0
"""A run is not put in place anew closer to its instant than this: the broker may be moving it from
the delayed runs to the waiting ones, and would have both."""
CLOCKS_APART_SECONDS = 60.0
"""By how much clocks may differ. What lies further ahead was put there by one that was wrong."""
# Superseded versions. One that is forgotten would take over like a new one, should a worker with it
# start again; so many deploys later none does.
_REMEMBERED_VERSIONS = 20
_REMEMBERED_RUNS = 100
"""A run whose worker dies is let start again while it is among so many latest ones."""


def declare(
    found: Schedule | None, declaration: Declaration, now: float, chain: str
) -> Schedule | None:
    """Decide what a worker's declaration makes of a schedule; None leaves it as it is.

    A version that has not been seen before takes over at once. One that was superseded does so only
    when no living worker renews the one in force: that is a deploy that was taken back, while old
    workers that live on, or are started again, in the middle of a deploy change nothing.

    Args:
        found: As it is kept.
        declaration: What the worker's code says.
        now: The present instant.
        chain: A new token.

    Returns:
        Schedule | None: As it is to be kept from now on.
    """
    if found is None:
        return Schedule(declaration, chain, now)
    version, in_force = declaration.version, found.declaration.version
    if version == in_force:
        # All workers renew: one at a time is enough. Half the period, so that a worker alone, whose
        # renewals come a little early or late, never skips one. Not for long after a wrong clock.
        is_due = not -CLOCKS_APART_SECONDS < now - found.declared < RENEW_SECONDS / 2
        return replace(found, declared=now) if is_due else None
    if version in found.superseded and not is_orphaned(found, now):
        return None
    # The version that takes over again is no superseded one any more.
    earlier = (*(v for v in found.superseded if v != version), in_force)
    return replace(
        found,
        declaration=declaration,
        chain=chain,
        declared=now,
        superseded=earlier[-_REMEMBERED_VERSIONS:],
        pending=None,
    )


def refusal(found: Schedule, tick: Tick) -> str | None:
    """Say why a run that has come is no run of the schedule any more; None when it is one."""
    if found.paused:
        return "its schedule is paused"
    # The chain, not the version: a schedule that was paused and resumed has a new one too.
    if found.chain != tick.chain:
        return "its schedule has changed"
    # One that started before, and lost its worker, is delivered again: it has not been made up for.
    is_covered = found.covered is not None and tick.instant <= found.covered
    if is_covered and tick.instant not in found.started:
        return "another run of its schedule made up for it"
    return None


def is_orphaned(found: Schedule, now: float) -> bool:
    """Tell whether no living worker's code has a schedule.

    Within LAPSE_SECONDS of the last worker's end the answer is still False.
    """
    return now - found.declared > LAPSE_SECONDS


def next_instant(found: Schedule, after: float) -> float:
    """Return when a schedule's next run is due, but those that were let start or called off.

    Args:
        found: As it is kept.
        after: Runs due until then do not count.
    """
    done = {*found.started, *found.skipped}
    return next(one for one in found.trigger.instants_after(after) if one not in done)


def is_ahead(found: Schedule, now: float) -> bool:
    """Tell whether the pending run lies beyond the next one: a wrong clock has put it there."""
    present = now + CLOCKS_APART_SECONDS
    if found.pending is None:
        return False
    # When all that is remembered lies ahead, it is this clock that is wrong: it is behind.
    if len(found.started) == _REMEMBERED_RUNS and min(found.started) > present:
        return False
    return found.pending > next_instant(found, present)


def set_back(found: Schedule, now: float, chain: str) -> Schedule:
    """Return a schedule that goes on from now, its pending run void.

    Args:
        found: As it is kept.
        now: The present instant.
        chain: A new token.
    """
    is_ours = found.covered is not None and found.covered <= now + CLOCKS_APART_SECONDS
    return replace(found, chain=chain, pending=None, covered=found.covered if is_ours else None)


def skip(found: Schedule, now: float) -> Schedule:
    """Return a schedule whose pending run will not come, if there is one: the next is pending."""
    if found.pending is None:
        return replace(found, pending=next_instant(found, now))
    skipped = (*found.skipped, found.pending)[-_REMEMBERED_RUNS:]
    return replace(found, skipped=skipped, pending=next_instant(found, max(now, found.pending)))


def is_late(found: Schedule, tick: Tick, now: float) -> bool:
    """Tell whether a run comes too late for a schedule that skips; one that started may go on."""
    if found.declaration.missed != "skip" or tick.instant in found.started:
        return False
    return now - tick.instant > found.trigger.grace(tick.instant)


def advance(found: Schedule, tick: Tick, now: float) -> Schedule:
    """Return a schedule after one of its runs has come: the next one is pending.

    The next one lies in the future, and this run makes up for all that came due before.

    Args:
        found: As it is kept.
        tick: The run that has come, and may start.
        now: The present instant.
    """
    # This worker's clock may be behind the one that delivered the run.
    present = max(now, tick.instant)
    pending = found.pending
    if pending is None or pending <= present:
        pending = found.trigger.next_after(present)
    # A late one is skipped, so it covers nothing; one that comes again is in `started` already.
    if is_late(found, tick, now) or tick.instant in found.started:
        return replace(found, pending=pending)
    started = (*found.started, tick.instant)[-_REMEMBERED_RUNS:]
    return replace(found, pending=pending, started=started, covered=present)
