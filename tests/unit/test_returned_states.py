"""A task that returns a state ends in it."""

import asyncio
import contextlib
from typing import Any, cast

import pytest
from direct_calls import both

from jtask import State, StateName, runtime, task
from jtask.errors import RunCancelled, RunCrashed, RunFailed
from jtask.execution.returned_states import state_returned, value_of
from jtask.outcomes import Outcome
from jtask.states import Cancelled, Completed, Crashed, Failed
from jtask.tasks import SyncTask


def ends_of(work: SyncTask[[], Any]) -> list[State]:
    """Call a task and return the states that it ended attempts and the run in."""
    states: list[State] = []
    for hook in ("on_running", "on_retry", "on_completion", "on_failure", "on_crashed"):
        getattr(work, hook)(lambda _task, _run, state: states.append(state))
    with contextlib.suppress(Exception):
        work()
    return states


@both
def test_completed_gives_its_data_as_the_value(call: Any) -> None:
    assert call(lambda: Completed(data=5)) == 5
    assert call(lambda: Completed()) is None


@both
def test_failed_raises_its_exception_or_one_with_its_message(call: Any) -> None:
    with pytest.raises(KeyError, match="x"):
        call(lambda: Failed(data=KeyError("x")))
    with pytest.raises(RunFailed, match="no luck"):
        call(lambda: Failed(message="no luck"))


@both
def test_failed_is_retried_while_retries_remain(call: Any) -> None:
    attempts: list[int | None] = []

    def body() -> Any:
        attempts.append(runtime.attempt)
        return Failed(message="not yet") if len(attempts) < 3 else "done"

    assert call(body, retries=2) == "done"
    assert attempts == [1, 2, 3]
    attempts.clear()
    with pytest.raises(RunFailed, match="not yet"):
        call(body, retries=1)


@pytest.mark.parametrize(
    ("state", "raised"), [(Cancelled(message="why"), RunCancelled), (Crashed(), RunCrashed)]
)
def test_other_ends_are_not_retried(state: State, raised: type[Exception]) -> None:
    attempts: list[int | None] = []

    @task(retries=2)
    def work() -> Any:
        attempts.append(runtime.attempt)
        return state

    with pytest.raises(raised):
        work()
    assert attempts == [1]


def test_a_state_keeps_its_name_and_its_message() -> None:
    @task
    def skips() -> Any:
        return Completed(name="Skipped", message="nothing to do")

    end = ends_of(skips)[-1]
    assert (end.name, end.label, end.message) == ("Completed", "Skipped", "nothing to do")

    @task
    def fails() -> Any:
        return Failed(name="Refused", message="too old")

    end = ends_of(fails)[-1]
    assert (end.name, end.label, end.message) == ("Failed", "Refused", "too old")


def test_a_state_without_a_name_is_called_what_it_is() -> None:
    assert (Completed().label, Failed(message="x").label) == ("Completed", "Failed")


@pytest.mark.parametrize(
    ("states", "name", "message"),
    [
        (
            [Completed(), Failed(), Failed(), Completed(), Completed()],
            "Failed",
            "2/5 states failed.",
        ),
        ((Completed(), Crashed()), "Failed", "1/2 states failed."),
        ([Completed(), Cancelled(), Failed()], "Cancelled", "1/3 states cancelled."),
        ([Completed(), State(StateName.RUNNING, 1.0)], "Failed", "1/2 states are not final."),
    ],
)
def test_several_states_come_to_how_many_did_not_complete(
    states: Any, name: str, message: str
) -> None:
    together = state_returned(states)
    assert together is not None
    assert (together.name, together.message) == (name, message)


@both
def test_several_states_that_completed_give_their_values(call: Any) -> None:
    assert call(lambda: [Completed(data=1), Completed(data=2)]) == [1, 2]


@pytest.mark.parametrize("value", [None, 5, [], [1, Completed()], {"a": Completed()}, "x"])
def test_any_other_value_says_nothing_of_the_end(value: Any) -> None:
    assert state_returned(value) is None


@both
def test_a_state_in_which_no_run_ends_fails_the_run(call: Any) -> None:
    with pytest.raises(ValueError, match="returned the state Running, in which no run ends"):
        call(lambda: State(StateName.RUNNING, 1.0))


WRONG: Any = 3


@both
@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (Completed(message=WRONG), "the message of a returned state is a text, got 3"),
        (Failed(message=WRONG), "the message of a returned state is a text, got 3"),
        (Completed(name=cast("Any", object())), "the details of a returned state are JSON"),
        (State(StateName.COMPLETED, 1.0, details=WRONG), "the details of a returned state are"),
        (Failed(data=WRONG), "Failed comes with an exception as its data, got 3: give a text"),
    ],
)
def test_a_state_with_what_could_not_be_stored_fails_the_run(
    call: Any, state: State, reason: str
) -> None:
    with pytest.raises(TypeError, match=reason):
        call(lambda: state)


def test_the_end_of_a_known_value_is_read_without_a_run() -> None:
    assert value_of(Completed(data=3)) == 3
    assert Outcome(Completed(data=3), 3).successful
    assert asyncio.run(_in_a_coroutine()) == "x"


async def _in_a_coroutine() -> Any:
    @task
    async def work() -> State:
        return Completed(data="x")

    return await work()
