"""Slots, waiting runs, and how far a worker reaches ahead."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jtask.worker.slots import SlotPool


def job(name: str) -> Any:
    return name


def test_runs_get_slots_in_order_of_arrival() -> None:
    intake = SlotPool(2, 0)
    for name in "abc":
        intake.add(job(name))
    assert [intake.next_job() for _ in range(3)] == ["a", "b", None]
    intake.free_slots()
    assert [intake.next_job() for _ in range(2)] == ["c", None]


def test_runs_of_a_higher_rank_go_first_in_their_order() -> None:
    intake = SlotPool(5, 0)
    for name, rank in zip("abcdef", (0, 3, 0, 3, 10, 0), strict=True):
        intake.add(job(name), rank)
    assert intake.waiting() == ["e", "b", "d", "a", "c", "f"]
    assert [intake.next_job(), intake.next_job()] == ["e", "b"]
    intake.start_now(job("d"))
    intake.start_now(job("c"))
    with pytest.raises(ValueError, match="does not wait"):
        intake.start_now(job("e"))
    assert intake.next_job() == "a"
    assert intake.take_all() == ["f"]
    assert intake.waiting() == []


def test_no_slot_is_taken_while_no_run_waits() -> None:
    intake = SlotPool(1, 0)
    assert intake.next_job() is None
    intake.add(job("a"))
    assert intake.next_job() == "a"


def test_what_waits_can_be_taken_back_as_a_whole() -> None:
    intake = SlotPool(1, 5)
    for name in "abc":
        intake.add(job(name))
    intake.next_job()
    assert intake.take_all() == ["b", "c"]
    assert intake.take_all() == []


def test_the_credit_is_the_slots_and_the_prefetch() -> None:
    assert SlotPool(10, 5).credit == 15
    assert SlotPool(10, 0).credit == 10
    assert SlotPool(10, None).credit == 11


def test_what_is_held_up_on_its_way_out_is_held_on_top_of_the_credit() -> None:
    intake = SlotPool(10, 5)
    intake.note_held_up(3)
    assert intake.credit == 18
    intake.note_held_up(20_000)
    assert intake.credit == 10_015
    intake.note_held_up(-20_003)
    assert intake.credit == 15


def end_runs(intake: SlotPool, count: int) -> None:
    for _ in range(count):
        intake.take_slot()
        intake.free_slots()


def test_a_given_prefetch_stays() -> None:
    intake = SlotPool(1, 4)
    end_runs(intake, 50)
    intake.adapt()
    assert intake.credit == 5


@pytest.mark.parametrize(("ended", "prefetch"), [(0, 1), (1, 1), (7, 7), (5000, 1000)])
def test_a_free_prefetch_follows_the_pace(ended: int, prefetch: int) -> None:
    intake = SlotPool(10, None)
    end_runs(intake, ended)
    intake.adapt()
    assert intake.credit == 10 + prefetch


def test_the_pace_is_what_ended_in_the_last_tenth_of_a_second() -> None:
    intake = SlotPool(10, None)
    looks = round(0.1 / SlotPool.PACE_SECONDS)
    for _ in range(2 * looks):
        end_runs(intake, 6)
        assert intake.adapt()
    assert intake.credit == 10 + 6 * looks


def test_an_idle_worker_forgets_its_pace() -> None:
    intake = SlotPool(10, None)
    end_runs(intake, 600)
    followed = 0
    while intake.adapt():
        followed += 1
    assert followed == round(0.1 / SlotPool.PACE_SECONDS)
    assert intake.credit == 11


@pytest.mark.parametrize(("ended", "ahead"), [(0, 0), (4, 0), (5, 1), (1000, 200), (9000, 400)])
def test_a_runner_is_given_ahead_what_ends_in_a_moment(ended: int, ahead: int) -> None:
    intake = SlotPool(3, 0, reaches_ahead=True)
    end_runs(intake, ended)
    intake.adapt()
    assert sum(intake.take_slot() for _ in range(500)) == 3 + ahead


def test_nothing_is_given_ahead_once_the_pace_is_gone() -> None:
    intake = SlotPool(1, 0, reaches_ahead=True)
    end_runs(intake, 1000)
    while intake.adapt():
        pass
    assert [intake.take_slot(), intake.take_slot()] == [True, False]


def test_a_runner_that_cannot_keep_to_the_slots_is_given_nothing_ahead() -> None:
    intake = SlotPool(1, 0)
    end_runs(intake, 1000)
    intake.adapt()
    assert [intake.take_slot(), intake.take_slot()] == [True, False]


@given(st.integers(1, 5), st.lists(st.sampled_from(["add", "next", "free", "take"]), max_size=60))
def test_never_more_runs_than_slots_and_none_is_lost(slots: int, steps: list[str]) -> None:
    intake = SlotPool(slots, None)
    added = started = busy = 0
    for step in steps:
        if step == "add":
            intake.add(job(str(added)))
            added += 1
        elif step == "next" and (found := intake.next_job()) is not None:
            assert found == str(started)
            started += 1
            busy += 1
        elif step == "take":
            busy += intake.take_slot()
        elif step == "free" and busy:
            intake.free_slots()
            busy -= 1
        assert busy <= slots
    assert intake.take_all() == [str(n) for n in range(started, added)]
