"""Lengths of time as people write and read them, and the last instant that counts."""

import re

HORIZON = 7_258_118_400.0
"""The end of the year 2199, the last instant that every broker must keep. JetStream's own instants
end in 2262, and its times to live after 292 years."""

LONGEST = 100 * 366 * 86_400.0
"""The longest that anything may last or be kept, seconds: a century. More is a mistake, and beyond
292 years JetStream refuses it."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SHAPE = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")


def parse_seconds(text: str) -> float:
    """Return the seconds that a string such as `90`, `1.5s`, `10m`, `1h` or `7d` means.

    Raises:
        ValueError: It is not a duration.
    """
    found = _SHAPE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a duration: use 90, 1.5s, 10m, 1h or 7d")
    return float(found[1]) * _UNITS[found[2] or "s"]


def describe_seconds(seconds: float) -> str:
    """Return a length of time with two or three significant digits, such as `12 ms` or `3.4 s`."""
    # Each bound lies where rounding would show the next unit: 0.9996 s is 1.0 s, not 1000 ms.
    if seconds < 0.00095:
        return f"{seconds * 1_000_000:.0f} µs"
    if seconds < 0.0095:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
