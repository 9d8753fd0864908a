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
        # renewals come a little early or late, never skips one.
        is_due = now - found.declared >= RENEW_SECONDS / 2
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
