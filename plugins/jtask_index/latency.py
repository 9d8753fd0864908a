"""Lengths of time in steps, so that minutes with many runs have few rows: no I/O.

Each step is a fourth longer than the one before, so a percentile read from them is right to 12 %.
"""

import math
from collections.abc import Mapping

NEVER_STARTED = -1
"""The step of runs that ended without having been started."""

_SHORTEST = 0.001  # seconds: the end of step 0
_FACTOR = 1.25
_LAST = 100  # a step of which nobody is further


def step_of(took: float | None) -> int:
    """Return the step that a length of time belongs to."""
    if took is None:
        return NEVER_STARTED
    if took <= _SHORTEST:
        return 0
    return min(_LAST, math.ceil(math.log(took / _SHORTEST, _FACTOR) - 1e-9))


def seconds_of(step: int) -> float:
    """Return the middle of a step, in seconds."""
    return float(_SHORTEST * _FACTOR ** (step - 0.5))


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the length of time that a share of runs does not exceed, in seconds.

    Args:
        counts: How many runs there are of each step.
        share: Such as 0.95.
    """
    steps = sorted(step for step, runs in counts.items() if step >= 0 and runs > 0)
    rank = share * sum(counts[step] for step in steps)
    for step in steps:
        rank -= counts[step]
        if rank <= 0:
            return seconds_of(step)
    return None
