"""Spread a delay so that many runs which failed together do not come back together.

The intervals are those between the events of a Poisson process (an exponential distribution), cut
off on both sides such that their mean is still the delay.
"""

import math
from functools import cache

from jtask.randomness import RANDOM

_STEPS = 100  # halvings of the bracket; a double has 53 bits


def spread(delay: float, factor: float, draw: float | None = None) -> float:
    """Return a random delay with the given mean.

    Args:
        delay: The mean, in seconds.
        factor: The largest delay is `delay * (1 + factor)`.
        draw: From 0 to 1, for tests; random when not given.
    """
    shortest, longest = bounds(factor)
    share = RANDOM.random() if draw is None else draw
    # The inverse of the distribution function, between its values at the two bounds. So one draw is
    # enough, however narrow the bounds: no draws are thrown away until one fits.
    low, high = math.exp(-longest), math.exp(-shortest)
    left = low + (high - low) * share
    # A very large factor makes the lower value 0 in floating point.
    drawn = longest if left <= 0 else -math.log(left)
    return delay * min(max(drawn, shortest), longest)


# Once for each factor that tasks use; it is the same at every retry.
@cache
def bounds(factor: float) -> tuple[float, float]:
    """Return the shortest and the longest delay, as multiples of the mean.

    Cut to [a, b], an exponential distribution of mean 1 keeps its mean if a*exp(-a) = b*exp(-b).
    That function rises up to 1 and falls beyond, so there is one a for each b above 1.
    """
    longest = 1.0 + factor
    wanted = longest * math.exp(-longest)
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle * math.exp(-middle) < wanted:
            low = middle
        else:
            high = middle
    return low, longest
