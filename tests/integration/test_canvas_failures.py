"""What goes wrong with groups, chains and chords elsewhere, on each broker."""

import threading

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import runtime, task
from jtask.annotations import allow_failure
from jtask.client import get_client
from jtask.contract import Message
from jtask.errors import RunNotReady
from jtask.states import StateName
from jtask.wire.envelope import Envelope

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


class Counted:
    """How often a callback was executed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls: list[object] = []

    def add(self, value: object) -> None:
        with self._lock:
            self.calls.append(value)


counted = Counted()


@task(queue="canvas")
def member(n: int) -> int:
    return n


@task(queue="canvas", retries=2)
def flaky(n: int) -> int:
    if runtime.attempt < 3:
        raise ConnectionError("try again")
    return n


@task(queue="canvas")
def broken(n: int) -> int:
    raise ValueError(f"no {n}")


@task(queue="canvas")
def join(parts: list[int | Exception]) -> list[str]:
    counted.add(parts)
    return [str(part) for part in parts]


@task(queue="canvas")
def length(parts: list[str]) -> int:
    return len(parts)


TASKS = (member, flaky, broken, join, length)


@pytest.fixture(autouse=True)
def _count_anew() -> None:
    counted.calls.clear()


def test_a_chord_without_members_calls_back(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    assert join.delay([]).result(PATIENCE) == []


def test_a_chord_of_one_calls_back_once(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    assert join.delay(member.delay_many([(1,)])).result(PATIENCE) == ["1"]
    assert len(counted.calls) == 1


def test_chords_of_chords_and_chains_of_chords_nest(jtask_worker: StartWorker) -> None:
    inner = [join.delay(member.delay_many([(1,), (2,)])) for _ in range(3)]
    outer = join.delay([length.delay(one) for one in inner])
    run = length.delay(outer)
    jtask_worker(*TASKS)
    assert run.result(PATIENCE) == 3
    assert outer.result(PATIENCE) == ["2", "2", "2"]
    assert len(counted.calls) == 4


def test_a_callback_waits_for_the_retries_of_a_member(jtask_worker: StartWorker) -> None:
    jtask_worker(*TASKS)
    run = join.delay([member.delay(1), flaky.delay(2), member.delay(3)])
    assert run.result(PATIENCE) == ["1", "2", "3"]
    assert len(counted.calls) == 1


def test_a_member_that_fails_ends_the_callback_and_whoever_waits(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(*TASKS)
    failed = broken.delay(2)
    run = length.delay(join.delay([member.delay(1), failed, member.delay(3)]))
    with pytest.raises(RunNotReady, match=failed.run_id):
        run.result(PATIENCE)
    assert counted.calls == []


def test_a_callback_that_allows_for_it_gets_what_members_raised(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(*TASKS)
    run = join.delay(allow_failure([member.delay(1), broken.delay(2)]))
    assert run.result(PATIENCE) == ["1", "no 2"]


def test_a_member_that_is_cancelled_ends_the_callback(jtask_worker: StartWorker) -> None:
    cancelled = member.apply_async((2,), countdown=3600)
    run = join.delay([member.delay(1), cancelled])
    jtask_worker(*TASKS)
    eventually(lambda: cancelled.run_id in run.state.message)
    cancelled.cancel()
    with pytest.raises(RunNotReady, match="ended as Cancelled"):
        run.result(PATIENCE)


def test_a_member_that_expires_ends_the_callback(jtask_worker: StartWorker) -> None:
    late = member.apply_async((2,), countdown=0.1, expires=0.0)
    run = join.delay([member.delay(1), late])
    jtask_worker(*TASKS)
    with pytest.raises(RunNotReady, match="ended as Expired"):
        run.result(PATIENCE)


def test_a_member_that_is_sent_twice_counts_once(jtask_worker: StartWorker) -> None:
    first, second = member.delay(1), member.delay(2)
    run = join.delay([first, second])
    envelope = Envelope(first.run_id, member.key, member.name, "json", b'{"n":9}', 1.0)
    jtask_worker(*TASKS)
    assert run.result(PATIENCE) == ["1", "2"]
    again = Message(first.run_id, "canvas", envelope.encode(), priority=1)
    on_io(lambda broker: broker.runs.enqueue([again]))
    # Behind it on the queue, so it was taken by then.
    assert member.delay(3).result(PATIENCE) == 3
    assert join.delay([first, second]).result(PATIENCE) == ["1", "2"]


def test_a_part_that_is_kept_no_more_is_said_so(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_RESULT_TTL", "1")
    jtask_worker(*TASKS)
    part = member.delay(1)
    assert part.result(PATIENCE) == 1
    eventually(lambda: on_io(lambda broker: broker.results.get(part.run_id)) is None)
    with pytest.raises(RunNotReady, match="for which results are kept"):
        join.delay([part]).result(PATIENCE)


def test_members_and_callback_are_in_any_process_known_by_their_ids(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(*TASKS)
    part = member.delay(1)
    same = get_client().handle(part.run_id)
    run = join.delay([same])
    assert run.result(PATIENCE) == ["1"]
    assert run.state.name is StateName.COMPLETED
