"""Whether a run may have limits: asked for every run, so nothing heavy is imported for it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jtask.runtime import RunContext

NOTE = "jtask_limits"
"""Where the slots that a run has are noted with it."""


def may_be_limited(run: "RunContext") -> bool:
    """Tell whether a run may have limits at all.

    A direct call has those of its tags not: to look for them it would have to connect, perhaps to a
    server that is started for it.
    """
    is_tagged = bool(run.tags) and run.queue is not None
    return is_tagged or run.task.options["limit"] is not None


def has_no_slot(run: "RunContext") -> bool:
    """Tell whether a run was admitted without a slot, or has handed all on."""
    return NOTE in run.notes and not run.notes[NOTE]


def was_woken_for_nothing(run: "RunContext") -> bool:
    """Tell whether a run has waited, and ended without asking to be admitted."""
    return bool(run.waited_for) and NOTE not in run.notes and may_be_limited(run)
