"""What counts as a number where people give one."""

import math
import sys
from typing import TypeGuard


def is_number(value: object, *, whole: bool = False) -> TypeGuard[float]:
    """Tell whether a value is a number, infinities and NaN included; True and False are none.

    Args:
        value: What was given.
        whole: Whether it must be an int.
    """
    # In Python True is an int, and retries=True is a mistake.
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool)


def is_within(
    value: object, least: float = 0.0, most: float = math.inf, *, whole: bool = False
) -> TypeGuard[float]:
    """Tell whether a value is a finite number within bounds.

    Args:
        value: What was given.
        least: The smallest number that will do.
        most: The largest one.
        whole: Whether it must be an int.
    """
    # An int may be too large for a float, where math.isfinite would raise.
    largest = sys.float_info.max
    return is_number(value, whole=whole) and max(least, -largest) <= value <= min(most, largest)
