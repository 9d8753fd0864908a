"""What repeats itself is said once in a while, with a count."""

from jtask.rate_limited_log import RateLimitedLog


def test_after_the_pause_the_silent_ones_are_counted() -> None:
    now = 0.0
    quiet = RateLimitedLog(60.0, clock=lambda: now)
    assert [quiet.count("a") for _ in range(4)] == [1, 0, 0, 0]
    now = 59.0
    assert quiet.count("a") == 0
    now = 60.0
    assert quiet.count("a") == 5
    assert quiet.count("b") == 1


def test_subjects_without_end_are_not_remembered_for_ever() -> None:
    quiet = RateLimitedLog(60.0, clock=lambda: 0.0)
    for number in range(5000):
        quiet.count(number)
    assert len(quiet._subjects) <= 1000
