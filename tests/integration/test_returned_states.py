"""What a run in the background returns as its state is stored, and wakes who waits for it."""

from typing import Any

import pytest
from in_process import StartWorker, on_each_broker
from waiting import PATIENCE

from jtask import State, runtime, task
from jtask.errors import RunCancelled, RunFailed
from jtask.states import Cancelled, Completed, Failed

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task(retries=1, retry_delay_seconds=0)
def ends(how: str) -> int | State:
    if how == "fails once" and runtime.attempt == 1:
        return Failed(message="not yet")
    if how == "cancelled":
        return Cancelled(message="not wanted")
    if how == "fails":
        return Failed(name="Refused", message="too old")
    if how == "several":
        return Completed(name="Partly", data=3)
    return 5


@task
async def several(fail: bool) -> list[State]:
    return [Completed(data=1), Failed() if fail else Completed(data="two")]


@task(isolation="process")
def apart(fail: bool) -> Any:
    return Failed(name="Refused", message="no") if fail else Completed(name="Fine", data=[1, 2])


def test_the_end_of_a_run_is_the_state_that_it_returned(jtask_worker: StartWorker) -> None:
    jtask_worker(ends)
    assert ends.delay("returns").result(timeout=30) == 5
    assert ends.delay("fails once").result(timeout=30) == 5
    named = ends.delay("several")
    assert named.result(timeout=30) == 3
    assert (named.state.name, named.state.label) == ("Completed", "Partly")
    failed = ends.delay("fails")
    with pytest.raises(RunFailed, match="too old"):
        failed.result(timeout=30)
    assert (failed.state.label, failed.attempt) == ("Refused", 2)
    cancelled = ends.delay("cancelled")
    with pytest.raises(RunCancelled, match="not wanted"):
        cancelled.result(timeout=30)
    assert cancelled.attempt == 1


def test_several_states_of_a_run_are_stored_as_their_values(jtask_worker: StartWorker) -> None:
    jtask_worker(several)
    assert several.delay(fail=False).result(timeout=30) == [1, "two"]
    with pytest.raises(RunFailed, match=r"1/2 states failed\."):
        several.delay(fail=True).result(timeout=30)


def test_a_state_comes_back_from_a_child_process(jtask_worker: StartWorker) -> None:
    jtask_worker(apart)
    fine = apart.delay(fail=False)
    assert fine.result(timeout=40) == [1, 2]
    assert fine.state.label == "Fine"
    failed = apart.delay(fail=True)
    with pytest.raises(RunFailed, match="no"):
        failed.result(timeout=40)
    assert failed.state.label == "Refused"


@task
def child(number: int) -> int:
    if number % 2:
        raise ValueError(f"odd: {number}")
    return number


@task
def parent(numbers: list[int]) -> list[State]:
    runs = [child.delay(number) for number in numbers]
    for run in runs:
        run.wait(PATIENCE)
    return [run.state for run in runs]


@task
def passes_on(number: int) -> int | State:
    run = child.delay(number)
    run.wait(PATIENCE)
    return run.state


def test_states_of_other_runs_can_be_returned(jtask_worker: StartWorker) -> None:
    jtask_worker(child, parent, passes_on)
    assert parent.delay([0, 2, 4]).result(timeout=PATIENCE) == [0, 2, 4]
    with pytest.raises(RunFailed, match=r"2/5 states failed\."):
        parent.delay([0, 1, 2, 3, 4]).result(timeout=PATIENCE)
    assert passes_on.delay(2).result(timeout=PATIENCE) == 2
    with pytest.raises(ValueError, match="odd: 3"):
        passes_on.delay(3).result(timeout=PATIENCE)
