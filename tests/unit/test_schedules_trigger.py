"""When schedules are due, and what their options may be."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jtask import task
from jtask.errors import TaskDefinitionError
from jtask_schedules.trigger import Trigger

BERLIN = ZoneInfo("Europe/Berlin")
YEAR_2026 = st.floats(datetime(2026, 1, 1, tzinfo=UTC).timestamp(), 1_798_700_000.0)


def cron(line: str, timezone: str = "Europe/Berlin") -> Trigger:
    return Trigger(line, None, timezone, "seed")


def times(table: Trigger, begin: datetime, count: int) -> list[str]:
    found = table.first_after(begin.timestamp(), count)
    return [datetime.fromtimestamp(at, BERLIN).strftime("%m-%d %H:%M %z") for at in found]


def test_a_daily_run_in_the_hour_that_spring_leaves_out_comes_once_right_after_it() -> None:
    found = times(cron("30 2 * * *"), datetime(2026, 3, 28, 12, tzinfo=BERLIN), 2)
    assert found == ["03-29 03:00 +0200", "03-30 02:30 +0200"]


def test_a_daily_run_in_the_hour_that_autumn_repeats_comes_once_the_first_time() -> None:
    found = times(cron("30 2 * * *"), datetime(2026, 10, 24, 12, tzinfo=BERLIN), 2)
    assert found == ["10-25 02:30 +0200", "10-26 02:30 +0100"]


def test_a_run_every_half_hour_goes_on_through_both_switches() -> None:
    spring = times(cron("*/30 * * * *"), datetime(2026, 3, 29, 1, 10, tzinfo=BERLIN), 3)
    assert spring == ["03-29 01:30 +0100", "03-29 03:00 +0200", "03-29 03:30 +0200"]
    autumn = times(cron("*/30 * * * *"), datetime(2026, 10, 25, 2, 10, tzinfo=BERLIN), 4)
    assert autumn == [
        "10-25 02:30 +0200",
        "10-25 02:00 +0100",
        "10-25 02:30 +0100",
        "10-25 03:00 +0100",
    ]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("SAT-SUN", ["Sat", "Sun", "Sat"]),
        ("fri-sun", ["Fri", "Sat", "Sun"]),
        ("MON-SUN/3", ["Mon", "Thu", "Sun"]),
        ("SUN-MON", ["Mon", "Sun", "Mon"]),
    ],
)
def test_a_range_of_weekdays_may_end_with_sunday(days: str, expected: list[str]) -> None:
    line = f"0 9 * * {days}"
    task(cron=line)(lambda: None)
    found = cron(line).first_after(datetime(2026, 3, 2, 0, tzinfo=BERLIN).timestamp(), 3)
    assert [f"{datetime.fromtimestamp(at, BERLIN):%a}" for at in found] == expected


@pytest.mark.parametrize("line", ["30 2 * * *", "*/7 * * * *", "0 3 * * SUN", "15 */2 * * *"])
@pytest.mark.parametrize("switch", [datetime(2026, 3, 29), datetime(2026, 10, 25)])
def test_whoever_asks_around_a_switch_gets_the_same_instants(line: str, switch: datetime) -> None:
    table = cron(line)
    begin = switch.replace(tzinfo=BERLIN).timestamp() - 3600
    known = [at for at in table.first_after(begin, 200) if at < begin + 86_400]
    for minute in range(7 * 60):
        now = begin + 60 * minute + 31
        later = [at for at in known if at > now]
        if later:
            assert table.next_after(now) == later[0]


@given(now=YEAR_2026, every=st.floats(1, 100_000).map(lambda s: round(s, 3)))
def test_intervals_are_the_same_for_whoever_asks_and_never_in_the_past(
    now: float, every: float
) -> None:
    table = Trigger(None, every, "UTC", "seed")
    first, second = table.first_after(now, 2)
    assert now < first <= now + every + 0.001
    assert second - first == pytest.approx(every, abs=0.0005)
    assert table.next_after((now + first) / 2) == first
    assert table.next_after(first) == second


@given(now=YEAR_2026, line=st.sampled_from(["*/5 * * * *", "0 0 1 * *", "59 23 * * MON-FRI"]))
def test_a_cron_line_is_due_after_the_instant_asked_for(now: float, line: str) -> None:
    due = cron(line).next_after(now)
    assert due > now
    assert cron(line).next_after(due - 0.001) == due
    assert cron(line).next_after(due) > due


def test_intervals_of_two_schedules_are_not_due_at_once() -> None:
    instants = {Trigger(None, 3600, "UTC", f"task-{n}").next_after(0.0) for n in range(20)}
    assert len(instants) == 20


def test_a_run_is_late_once_the_next_is_due_and_after_a_minute_at_most() -> None:
    table = Trigger(None, 5.0, "UTC", "seed")
    assert table.grace(table.next_after(1000.0)) == pytest.approx(5.0)
    assert cron("0 0 * * *").grace(datetime(2026, 1, 1, tzinfo=BERLIN).timestamp()) == 60.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cron": "every day"}, "five fields"),
        ({"cron": "0 0 0 * * *"}, "five fields"),
        ({"cron": "61 * * * *"}, "from 0 to 59"),
        ({"cron": "* 25 * * *"}, "from 0 to 23"),
        ({"cron": "0 0 31 2 *"}, "such a day"),
        ({"cron": "*/0 * * * *"}, "a step must be at least 1"),
        ({"cron": "*/70 * * * *"}, "the step 70 is more than the 60 minutes there are; every="),
        ({"cron": "5-1 * * * *"}, "the minutes 5-1 go backwards: write 5-59,0-1"),
        ({"cron": "0 9 * * FRI-MON"}, "the weekdays FRI-MON go backwards: write FRI-SAT,SUN-MON"),
        ({"cron": "0 9 * * 7-1"}, "the weekdays 7-1 go backwards$"),
        ({"cron": "0 0 ? * *"}, r"'\?' means nothing here: write '\*'"),
        ({"cron": "0 0 0 * *"}, "the days must be from 1 to 31, or L for the last one"),
        ({"cron": "1,2, * * * *"}, "a value is missing among the minutes"),
        ({"cron": 5}, "must be a string"),
        ({"cron": "0 0 * * *", "timezone": "Europe/Berlim"}, "no time zone 'Europe/Berlim'"),
        ({"every": 0.5}, "at least 1 second"),
        ({"every": float("nan")}, "at least 1 second"),
        ({"every": timedelta(days=9999)}, "at most 10 years"),
        ({"every": "5"}, "seconds or a timedelta"),
        ({"every": 5, "cron": "* * * * *"}, "either cron or every"),
        ({"every": 5, "timezone": "UTC"}, "option 'timezone': needs cron="),
        ({"missed": "skip"}, "option 'missed': needs cron= or every="),
        ({"every": 5, "missed": "retry"}, "'coalesce' or 'skip'"),
    ],
)
def test_a_wrong_option_is_refused_where_it_stands(options: dict[str, object], words: str) -> None:
    with pytest.raises(TaskDefinitionError, match=words):

        @task(**options)
        def _wrong() -> None: ...


def test_a_schedule_calls_its_task_without_arguments() -> None:
    @task(every=60, key="needs-an-argument")
    def needs(what: str) -> None: ...

    with pytest.raises(TaskDefinitionError, match=r"'what'.*default"):
        _ = needs.hooks


def test_an_interval_may_be_a_timedelta() -> None:
    @task(every=timedelta(minutes=1), key="has-a-timedelta")
    def minutely() -> None: ...

    assert minutely.options["every"] == 60.0


def test_tasks_without_a_schedule_are_spared_the_hook() -> None:
    @task(key="no-schedule-at-all")
    def plain() -> None: ...

    import jtask_schedules
    from jtask.plugins import get_plugins

    _ = plain.hooks  # gives the options their defaults
    assert jtask_schedules in get_plugins().uninterested(plain)
