"""Where runs stand, told from events that arrive in any order."""

import random
from itertools import permutations

import pytest

from jtask.cli.history import NewestRuns, summarise
from jtask.cli.run_report import RunReport, facts_of
from jtask.contract import Event
from jtask.ids import RunIds, created_at
from jtask.needs import Needs
from jtask.outcomes import SettledRun
from jtask.run_filters import RunFilter
from jtask.run_summaries import is_of_task, name_of
from jtask.states import State, StateName

RUN = RunIds().new()
BEGUN = created_at(RUN)
LIFE = [
    Event(RUN, StateName.SCHEDULED, BEGUN, "resize-0123456789ab"),
    Event(RUN, StateName.PENDING, BEGUN + 1, "resize-0123456789ab", 1, "host-1"),
    Event(RUN, StateName.RUNNING, BEGUN + 2, "resize-0123456789ab", 1, "host-1"),
    Event(RUN, StateName.FAILED, BEGUN + 5, "resize-0123456789ab", 1, "host-1", "ValueError"),
]


@pytest.mark.parametrize("events", list(permutations(LIFE)))
def test_the_order_of_arrival_does_not_matter(events: tuple[Event, ...]) -> None:
    summary = summarise(events)[RUN]
    assert (summary.state, summary.created, summary.started) == ("Failed", BEGUN, BEGUN + 2)
    assert (summary.ended, summary.worker, summary.detail) == (BEGUN + 5, "host-1", "ValueError")


def test_a_final_state_stands_although_another_clock_is_ahead() -> None:
    late = Event(RUN, StateName.RUNNING, BEGUN + 60, "resize-0123456789ab", 2, "host-2")
    assert summarise([*LIFE, late])[RUN].state == "Failed"
    assert summarise([late, *LIFE])[RUN].state == "Failed"


def test_the_trace_of_a_run_is_that_of_its_attempt_whichever_is_told_first() -> None:
    sent = LIFE[0]._replace(state="Scheduled", trace_id="sender")
    ended = LIFE[-1]._replace(trace_id="attempt")
    for told in ([sent, ended], [ended, sent]):
        assert summarise(told)[RUN].trace_id == "attempt"
    assert summarise([sent, *LIFE])[RUN].trace_id == "sender"


def test_a_run_that_is_not_over_has_no_end() -> None:
    summary = summarise(LIFE[:3])[RUN]
    assert (summary.state, summary.ended) == ("Running", None)


def test_a_task_is_meant_by_its_name_or_its_key() -> None:
    key = "send-mail-0123456789ab"
    assert name_of(key) == "send-mail"
    assert is_of_task(key, "send-mail")
    assert is_of_task(key, key)
    assert not is_of_task(key, "send")
    assert name_of("own-key") == "own-key"


def test_only_the_first_line_of_a_remark_sums_a_run_up() -> None:
    remark = Event(
        RUN, StateName.RUNNING, BEGUN + 3, "key", 1, "host-1", "still\n  File a\n    b()"
    )
    assert summarise([*LIFE[:3], remark])[RUN].detail == "still"
    lines = RunReport(RUN, [*LIFE[:3], remark], None).to_text().splitlines()
    assert lines[-3].endswith("host-1  still")
    assert lines[-2:] == ["      File a", "        b()"]


def test_a_report_of_a_run_that_is_not_over_is_made_of_its_events() -> None:
    report = RunReport(RUN, LIFE[:3], None)
    assert report.to_json()["state"] == "Running"
    assert [state["state"] for state in report.to_json()["states"]] == [
        "Scheduled",
        "Pending",
        "Running",
    ]
    assert "+1.0 s" in report.to_text()


def lives(count: int) -> list[Event]:
    """The events of some runs, of two tasks, half of which have failed; in a random order."""
    events: list[Event] = []
    for number, run_id in enumerate(RunIds().new_many(count)):
        task = f"task{number % 2}-0123456789ab"
        events.append(Event(run_id, StateName.SCHEDULED, BEGUN + number, task))
        events.append(Event(run_id, StateName.RUNNING, BEGUN + number + 1, task))
        if number % 4 < 2:
            events.append(Event(run_id, StateName.FAILED, BEGUN + number + 2, task))
    random.Random(4).shuffle(events)
    return events


@pytest.mark.parametrize("tasks", [(), ("task1",)])
def test_the_newest_runs_are_those_that_all_events_would_give(tasks: tuple[str, ...]) -> None:
    events = lives(200)
    newest = NewestRuns(20, tasks)
    for event in events:
        newest.add(event)
    every = summarise(e for e in events if not tasks or is_of_task(e.task, *tasks))
    newest_ids = sorted(every, reverse=True)[:20]
    assert newest.summaries(RunFilter()) == [every[run_id] for run_id in newest_ids]
    failed = [run_id for run_id in newest_ids if every[run_id].state == "Failed"]
    assert [found.run_id for found in newest.summaries(RunFilter(state=("failed",)))] == failed
    assert newest.has_forgotten


def test_no_more_runs_are_held_than_are_kept() -> None:
    newest = NewestRuns(5)
    for event in lives(200):
        newest.add(event)
        assert len(newest.summaries(RunFilter())) <= 5


def test_runs_that_were_created_before_an_instant_are_left_out() -> None:
    newest = NewestRuns(5)
    for event in lives(3):
        newest.add(event)
    assert newest.summaries(RunFilter(), BEGUN + 3600) == []
    assert not newest.has_forgotten


def test_a_listed_run_has_the_names_that_a_shown_one_has() -> None:
    summary = summarise(LIFE)[RUN]
    listed, shown = facts_of(summary), RunReport(RUN, LIFE, None).to_json()
    assert set(listed) == set(shown) - {"states", "progress", "parameters"}
    assert (listed["task"], listed["name"]) == (summary.task, name_of(summary.task))
    assert listed["message"] == summary.detail


def test_a_report_says_which_run_went_into_which_argument() -> None:
    ids = tuple(f"run-{number}" for number in range(5))
    needs = Needs({"parts": ids, "size": ids[:1]}, wait_for=ids[1:2])
    state = State(StateName.COMPLETED, 1.0)
    end = SettledRun(RUN, "k", "n", state, 1, 1.0, 1.0, 1.0, 0.0, "", "json", b"1", needs=needs)
    report = RunReport(RUN, [], end)
    assert report.to_json()["needs"] == {
        "arguments": {"parts": [*ids], "size": ["run-0"]},
        "wait_for": ["run-1"],
    }
    shown = report.to_text().split("\n\n")
    assert [line.split() for line in shown[1].splitlines()] == [
        ["waited", "for"],
        ["parts", "run-0,", "run-1,", "run-2", "and", "2", "more"],
        ["size", "run-0"],
        ["run-1"],
    ]
