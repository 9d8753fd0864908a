"""Whose turn it is among the runs that may have killed their workers."""

from typing import Any

import pytest

from jtask import task
from jtask.execution.job import Job
from jtask.wire.envelope import Envelope
from jtask.worker.suspects import Suspects


class Delivered:
    """The part of a delivery that matters here."""

    def __init__(self, run_id: str, lost_workers: int) -> None:
        self.run_id = run_id
        self.queue = "mixed"
        self.lost_workers = lost_workers


@task
def at_the_top() -> None: ...


def job(run_id: str, lost_workers: int, *, can_move: bool = True) -> Job:
    @task
    def inside() -> None: ...

    found = at_the_top if can_move else inside
    delivery: Any = Delivered(run_id, lost_workers)
    envelope = Envelope(run_id, found.key, found.name, "json", b"", created=0.0)
    return Job(delivery, envelope, found, received=0.0)


def test_a_run_that_lost_one_worker_is_no_suspect() -> None:
    suspects = Suspects(max_crashes=3)
    assert not suspects.add(job("one", 1))
    assert suspects.waiting() == []


def test_suspects_that_can_move_execute_in_processes_of_their_own_a_few_at_once() -> None:
    suspects = Suspects(max_crashes=3)
    jobs = [job(str(n), 2) for n in range(6)]
    assert all(suspects.add(one) for one in jobs)
    started = []
    while suspects.is_one_next():
        started.append(suspects.next_job())
    assert started == jobs[:4]
    assert all(one.isolate is not None and suspects.limit(one) == 9 for one in started)
    suspects.ended(started[0])
    assert suspects.next_job() is jobs[4]


@pytest.mark.parametrize(("max_crashes", "can_move"), [(3, False), (2, True)])
def test_others_execute_in_the_worker_one_at_a_time(max_crashes: int, can_move: bool) -> None:
    suspects = Suspects(max_crashes)
    jobs = [job(str(n), 2, can_move=can_move) for n in range(2)]
    assert all(suspects.add(one) for one in jobs)
    first = suspects.next_job()
    assert (first, first.isolate, suspects.limit(first)) == (jobs[0], None, max_crashes)
    assert not suspects.is_one_next()
    suspects.ended(first)
    assert suspects.is_one_next()
    assert suspects.remove(jobs[1])
    assert not suspects.remove(jobs[1])
    assert not suspects.is_one_next()


def test_a_suspect_that_waits_for_another_run_gives_its_turn_away() -> None:
    suspects = Suspects(max_crashes=3)
    jobs = [job(str(n), 2, can_move=False) for n in range(3)]
    assert all(suspects.add(one) for one in jobs)
    parent = suspects.next_job()
    assert not suspects.is_one_next()
    suspects.ended(parent)
    child = suspects.next_job()
    suspects.goes_on(parent)
    suspects.ended(child)
    assert not suspects.is_one_next()
    suspects.ended(parent)
    assert suspects.is_one_next()


def test_no_turn_is_taken_by_one_that_is_no_suspect() -> None:
    suspects = Suspects(max_crashes=3)
    suspects.goes_on(job("one", 0, can_move=False))
    assert suspects.add(job("two", 2, can_move=False))
    assert suspects.is_one_next()
