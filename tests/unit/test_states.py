"""The table of states: what a run may enter next, and what each state says of itself."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jtask import task
from jtask.errors import IllegalTransition, RunUnfinished
from jtask.runtime import RunContext
from jtask.states import (
    ERROR_OF,
    FINAL,
    SUCCESSFUL,
    TRANSITIONS,
    State,
    StateName,
    check_transition,
)

S = StateName

# Written out once more, so that a change of the table is a decision that shows here too.
EXECUTING_ENDS = {
    S.COMPLETED,
    S.FAILED,
    S.TIMED_OUT,
    S.CRASHED,
    S.CANCELLED,
    S.AWAITING_RETRY,
    S.EXPIRED,
    S.NOT_READY,
    S.PENDING,
    S.SCHEDULED,
    S.RETRYING,
}
LEGAL: dict[StateName | None, set[StateName]] = {
    None: {S.SCHEDULED, S.PENDING},
    S.SCHEDULED: {S.PENDING, S.CANCELLED, S.EXPIRED, S.CRASHED},
    S.PENDING: {
        S.RUNNING,
        S.RETRYING,
        S.CACHED,
        S.NOT_READY,
        S.CANCELLED,
        S.EXPIRED,
        S.CRASHED,
        S.FAILED,
        S.SCHEDULED,
    },
    S.RUNNING: EXECUTING_ENDS,
    S.RETRYING: EXECUTING_ENDS,
    S.AWAITING_RETRY: {
        S.PENDING,
        S.SCHEDULED,
        S.FAILED,
        S.NOT_READY,
        S.CACHED,
        S.RETRYING,
        S.CANCELLED,
        S.EXPIRED,
        S.CRASHED,
    },
    S.COMPLETED: {S.ROLLED_BACK},
}
PAIRS = [(current, new) for current in (None, *S) for new in S]


@task
def anything() -> None: ...


def new_run() -> RunContext:
    return RunContext("an-id", anything, created_at=0.0)


@pytest.mark.parametrize(("current", "new"), PAIRS)
def test_a_move_is_legal_exactly_when_the_table_says_so(
    current: StateName | None, new: StateName
) -> None:
    if new in LEGAL.get(current, set()):
        check_transition(current, new)
    else:
        with pytest.raises(IllegalTransition, match=f"from {current or 'nothing'} to {new}"):
            check_transition(current, new)


@given(st.lists(st.sampled_from(list(S)), max_size=30))
def test_any_walk_through_enter_stays_in_the_table(wishes: list[StateName]) -> None:
    run = new_run()
    told: list[StateName] = []
    run.on_state = lambda _, state: told.append(state.name)
    path: list[StateName | None] = [None]
    for wish in wishes:
        try:
            run.enter(wish)
        except IllegalTransition:
            assert wish not in LEGAL.get(path[-1], set())
        else:
            path.append(wish)
    assert all(new in LEGAL[old] for old, new in pairwise(path))
    assert told == path[1:]


def test_a_refused_move_leaves_the_run_where_it_was() -> None:
    run = new_run()
    pending = run.enter(S.PENDING)
    with pytest.raises(IllegalTransition):
        run.enter(S.COMPLETED)
    assert run.state is pending


def test_enter_keeps_the_instant_and_the_message() -> None:
    run = new_run()
    assert run.enter(S.SCHEDULED, "waits", at=12.5) == State(S.SCHEDULED, 12.5, "waits")
    before = time.time()
    assert before <= run.enter(S.PENDING).at <= time.time()


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(S)


def test_every_state_can_be_reached() -> None:
    reached: set[StateName | None] = {None}
    while more := {new for old in reached for new in LEGAL.get(old, set())} - reached:
        reached |= more
    assert reached == {None, *S}


def test_a_final_state_is_left_for_a_roll_back_at_most() -> None:
    assert {
        S.COMPLETED,
        S.CACHED,
        S.FAILED,
        S.TIMED_OUT,
        S.CRASHED,
        S.CANCELLED,
        S.EXPIRED,
        S.NOT_READY,
        S.ROLLED_BACK,
    } == FINAL
    assert {S.COMPLETED, S.CACHED, S.ROLLED_BACK} == SUCCESSFUL
    assert SUCCESSFUL <= FINAL


QUESTIONS = {
    "is_scheduled": {S.SCHEDULED, S.AWAITING_RETRY},
    "is_pending": {S.PENDING},
    "is_running": {S.RUNNING, S.RETRYING},
    "is_completed": {S.COMPLETED, S.CACHED, S.ROLLED_BACK},
    "is_failed": {S.FAILED, S.TIMED_OUT},
    "is_crashed": {S.CRASHED},
    "is_cancelled": {S.CANCELLED},
    "is_final": set(FINAL),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_is_answered_for_each_state(question: str) -> None:
    yes = {name for name in S if getattr(State(name, 0.0), question)()}
    assert yes == QUESTIONS[question]


@pytest.mark.parametrize("name", StateName)
def test_a_state_without_data_gives_what_belongs_to_it(name: StateName) -> None:
    state = State(name, time.time(), "why")
    if name in SUCCESSFUL:
        assert state.result() is None
    elif name in FINAL:
        assert type(state.result(raise_on_failure=False)) is ERROR_OF[name]
        with pytest.raises(ERROR_OF[name], match="why"):
            state.result()
    else:
        with pytest.raises(RunUnfinished, match=name.value):
            state.result(raise_on_failure=False)
