"""Lengths of time as people write and read them."""

import pytest

from jtask.durations import describe_seconds, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5s", 1.5), ("250ms", 0.25), ("10m", 600), ("1h", 3600), ("7 d", 604_800)],
)
def test_a_length_of_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "1y", "1h30m", "s"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 µs"),
        (0.000_084, "84 µs"),
        (0.0012, "1.2 ms"),
        (0.0123, "12 ms"),
        (0.9999, "1.0 s"),
        (3.44, "3.4 s"),
        (59.99, "1 min 0 s"),
        (125, "2 min 5 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_a_length_of_time_is_told_with_two_or_three_digits(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text
