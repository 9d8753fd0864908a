"""What a limit with a name says, and how seldom it is asked for."""

import asyncio
import re
import time
from typing import Any, cast

import pytest

from jtask.contract import KeyValueStore
from jtask_limits import concurrency, rate_limit
from jtask_limits.definitions import ENDLESS, Limit, Limits
from jtask_limits.operations import create_limit


class NoRecords:
    """A store with nothing in it, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def get(self, bucket: str, key: str) -> Any:
        self.asked += 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (("", 1), "1 to 100 printable characters, got ''"),
        ((5, 1), "printable characters, got 5"),
        (("db", -1), "'db' must have a whole number of slots, 0 or more, got -1"),
        (("db", "5"), "got '5'"),
        (("db", 0, 60.0), "1 or more, got 0"),
        (("db", 5, "minute"), "`per` is a number of seconds, such as 60, got 'minute'"),
        (("db", 5, 0), "such as 60, got 0"),
        (("db", 5, float("nan")), "got nan"),
        (("db", 5, None, 2), "`burst` is for rates: give `per` too"),
        (("db", 5, 1.0, 0), "`burst` must be a whole number of at least 1, got 0"),
        (("tag:web", 5, 60.0), "cannot be a rate"),
    ],
)
def test_a_limit_that_would_hold_nobody_back_is_refused(
    fields: tuple[Any, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        create_limit(Limit(*fields))


def test_what_a_block_waits_for_is_checked_before_it_waits() -> None:
    with pytest.raises(ValueError, match="a limit or a list of them, got 5"):
        concurrency(cast("Any", 5))
    with pytest.raises(ValueError, match="a number of seconds or None, got '1'"):
        concurrency("db", timeout_seconds=cast("Any", "1"))
    with pytest.raises(ValueError, match="a number of seconds or None, got '1'"):
        rate_limit("db", timeout_seconds=cast("Any", "1"))


@pytest.mark.parametrize(
    ("limit", "window"),
    [
        (Limit("r", 5, per=1.0), (5, 1.0)),
        (Limit("r", 100, per=60.0), (100, 60.0)),
        (Limit("r", 100, per=60.0, burst=10), (10, 6.0)),
        (Limit("r", 1, per=3600.0), (1, 3600.0)),
        # Windows are whole seconds long: a shorter one is lengthened, and more fit in.
        (Limit("r", 10, per=1.0, burst=1), (10, 1.0)),
        (Limit("r", 3, per=2.0, burst=1), (1, 1.0)),
    ],
)
def test_the_window_of_a_rate_lets_no_more_begin_than_it_says(
    limit: Limit, window: tuple[int, float]
) -> None:
    assert limit.window() == window
    assert limit.per is not None
    assert window[0] / window[1] <= limit.slots / limit.per


def test_that_a_tag_has_no_limit_is_asked_once_a_second_however_many_runs_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    records = NoRecords()
    limits = Limits(cast("KeyValueStore", records))

    async def a_hundred_runs() -> None:
        assert {await limits.find("tag:web") for _ in range(100)} == {None}

    asyncio.run(a_hundred_runs())
    assert records.asked == 1
    now[0] += 0.9
    asyncio.run(a_hundred_runs())
    assert records.asked == 1
    now[0] += 0.2
    asyncio.run(a_hundred_runs())
    assert records.asked == 2


def test_what_has_no_limit_has_slots_for_all() -> None:
    limits = Limits(cast("KeyValueStore", NoRecords()))
    assert asyncio.run(limits.slots_now("nothing")) == ENDLESS


def test_what_was_read_a_moment_ago_is_known_without_asking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = NoRecords()
    limits = Limits(cast("KeyValueStore", records))
    names = ["tag:web", "tag:mail"]
    assert limits.known(names) is None
    asyncio.run(limits.find(names[0]))
    assert limits.known(names) is None, "one of them is not known"
    asyncio.run(limits.find(names[1]))
    assert limits.known(names) == [None, None]
    assert records.asked == 2
    later = time.monotonic() + 1.5
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert limits.known(names) is None
