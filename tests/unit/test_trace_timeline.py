"""What a run did when, told from events that arrive in any order."""

from itertools import permutations

import pytest

from jtask.cli.trace.timeline import Phase, PhaseKind, timeline_of
from jtask.contract import Event
from jtask.ids import RunIds, created_at
from jtask.states import StateName

RUN = RunIds().new()
BEGUN = created_at(RUN)
NOW = BEGUN + 100


def event(state: str, at: float, attempt: int = 1, worker: str = "", **more: object) -> Event:
    until = more.pop("until", None)
    found = Event(RUN, state, BEGUN + at, "resize-0123456789ab", attempt, worker)
    if isinstance(until, int | float):
        found = found._replace(until=BEGUN + until)
    return found._replace(**more)


def told(phases: tuple[Phase, ...]) -> list[tuple[str, float, float]]:
    """Each phase as its kind, begin and end, seconds after the run's beginning."""
    return [
        (phase.kind.name, round(phase.begin - BEGUN, 3), round(phase.end - BEGUN, 3))
        for phase in phases
    ]


RETRIED = [
    event("Scheduled", 0, queue="images"),
    event("Pending", 1, worker="host-1"),
    event("Running", 2, worker="host-1"),
    event("AwaitingRetry", 4, worker="host-1", detail="ValueError: no\n  more", until=7),
    event("Retrying", 8, 2, "host-2"),
    event("Completed", 9, 2, "host-2"),
]


@pytest.mark.parametrize("events", list(permutations(RETRIED)))
def test_phases_do_not_depend_on_the_order_of_arrival(events: tuple[Event, ...]) -> None:
    found = timeline_of(events, NOW)
    assert told(found.phases) == [
        ("QUEUED", 0, 1),
        ("PENDING", 1, 2),
        ("EXECUTING", 2, 4),
        ("PAUSED", 4, 7),
        ("QUEUED", 7, 8),
        ("EXECUTING", 8, 9),
    ]
    assert (found.executed, found.waited) == pytest.approx((3, 6))
    assert (found.queue, found.is_enqueued) == ("images", True)


def test_an_attempt_says_how_it_ended_and_why() -> None:
    first, second = timeline_of(RETRIED, NOW).attempts
    assert (first.attempt, first.worker, first.end_state) == (1, "host-1", "Failed")
    assert first.reason == "ValueError: no"
    assert (second.attempt, second.worker, second.end_state) == (2, "host-2", "Completed")


def test_a_delayed_run_waits_for_its_time_and_then_for_a_worker() -> None:
    events = [event("Scheduled", 0, until=5), event("Pending", 6), event("Cancelled", 7)]
    found = timeline_of(events, NOW)
    assert told(found.phases) == [("DELAYED", 0, 5), ("QUEUED", 5, 6), ("PENDING", 6, 7)]


def test_a_run_that_is_not_admitted_is_parked_until_it_comes_again() -> None:
    events = [
        event("Scheduled", 0),
        event("Pending", 1, worker="host-1"),
        event("Scheduled", 2, worker="host-1", detail="the limit is 1", until=602),
        event("Pending", 3, worker="host-1"),
        event("Scheduled", 3.1, worker="host-1", detail="the limit is 1", until=603),
        event("Pending", 5, worker="host-1"),
        event("Running", 6, worker="host-1"),
        event("Completed", 7, worker="host-1"),
    ]
    found = timeline_of(events, NOW)
    # It looked in between, and waited on.
    assert told(found.phases)[2:] == [("PARKED", 2, 5), ("PENDING", 5, 6), ("EXECUTING", 6, 7)]
    assert found.phases[2].reason == "the limit is 1"


def test_what_lasts_is_told_up_to_now() -> None:
    assert told(timeline_of(RETRIED[:3], NOW).phases)[-1] == ("EXECUTING", 2, 100)
    assert timeline_of(RETRIED[:3], NOW).attempts[0].end_state == ""
    assert told(timeline_of(RETRIED[:4], BEGUN + 6).phases)[-1] == ("PAUSED", 4, 6)
    assert told(timeline_of(RETRIED[:4], NOW).phases)[-2:] == [
        ("PAUSED", 4, 7),
        ("QUEUED", 7, 100),
    ]


def test_a_lost_worker_ends_an_attempt() -> None:
    events = [
        event("Running", 1, worker="host-1"),
        event("Pending", 31, worker="host-2"),
        event("Running", 32, worker="host-2"),
        event("Completed", 33, worker="host-2"),
    ]
    assert [one.end_state for one in timeline_of(events, NOW).attempts] == ["lost", "Completed"]


def test_a_run_that_is_handed_back_waits_again() -> None:
    back = event("Scheduled", 2, worker="host-1", detail="handed back by a stopping worker")
    found = timeline_of([event("Running", 1, worker="host-1"), back], BEGUN + 3)
    assert told(found.phases) == [("EXECUTING", 1, 2), ("QUEUED", 2, 3)]
    assert found.attempts[0].end_state == "handed back"
    assert found.phases[-1].reason == "handed back by a stopping worker"


def test_a_remark_belongs_to_the_attempt_in_which_it_is_made() -> None:
    remark = event("Running", 3, worker="host-1", detail="still executing")
    (attempt,) = timeline_of([*RETRIED[:3], remark, event("Completed", 4)], NOW).attempts
    assert (attempt.end - attempt.begin, attempt.notes) == (pytest.approx(2), ("still executing",))
    assert attempt.end_state == "Completed"


def test_what_comes_after_the_end_counts_for_nothing() -> None:
    late = event("Running", 50, 2, "host-3")
    found = timeline_of([*RETRIED, late], NOW)
    assert found.end == pytest.approx(BEGUN + 9)
    assert len(found.attempts) == 2


def test_a_run_that_was_rolled_back_had_ended_before() -> None:
    found = timeline_of([*RETRIED, event("RolledBack", 20)], NOW)
    assert found.summary.state == "RolledBack"
    assert (found.end, found.attempts[-1].end_state) == (pytest.approx(BEGUN + 9), "Completed")


def test_a_callers_clock_that_is_ahead_does_not_put_the_beginning_later() -> None:
    found = timeline_of(
        [
            event("Scheduled", 30, queue="images"),
            event("Pending", 1, worker="host-1"),
            event("Running", 2, worker="host-1"),
            event("Completed", 3, worker="host-1"),
        ],
        NOW,
    )
    assert [phase.kind for phase in found.attempts] == [PhaseKind.EXECUTING]
    assert found.executed == pytest.approx(1)
    assert all(phase.seconds >= 0 for phase in found.phases)


def test_a_direct_call_went_over_no_queue() -> None:
    call = [event("Pending", 0, worker="host-1"), event("Running", 1, worker="host-1")]
    assert not timeline_of(call, NOW).is_enqueued
    assert timeline_of(RETRIED, NOW).is_enqueued


def test_any_single_event_makes_a_timeline() -> None:
    for state in StateName:
        found = timeline_of([event(state, 5)], NOW)
        assert found.begin == pytest.approx(BEGUN + 5)
        assert found.end >= found.begin
