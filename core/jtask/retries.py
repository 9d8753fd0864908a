"""Words for `retry_delay_seconds=`."""

from collections.abc import Callable

from jtask.errors import TaskDefinitionError
from jtask.numbers import is_within

LONGEST_LIST = 50
"""How many retry delays may be listed; the last one serves for all further retries."""


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Return a retry delay that doubles with each retry.

    `exponential_backoff(10)` waits 10, 20, 40, 80, ... seconds.

    Args:
        backoff_factor: The first delay, in seconds.

    Raises:
        TaskDefinitionError: The factor is below 0, or no number.
    """
    if not is_within(backoff_factor):
        raise TaskDefinitionError(
            f"backoff_factor must be 0 or more seconds, got {backoff_factor!r}"
        )

    def delays(retries: int) -> list[float]:
        # Not one for each of a million retries: beyond the list its last delay serves.
        return [backoff_factor * 2.0**number for number in range(min(retries, LONGEST_LIST))]

    return delays
