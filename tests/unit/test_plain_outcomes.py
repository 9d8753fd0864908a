"""What most runs end with is written in fewer steps, and reads as if it were not."""

from dataclasses import replace
from typing import Any

import pytest

from jtask import task
from jtask.contract import Delivery
from jtask.execution.dispositions import store_outcome
from jtask.outcomes import Outcome
from jtask.runtime import RunContext
from jtask.runtime.settled_runs import settled_run
from jtask.states import State, StateName
from jtask.wire.envelope import Envelope, encode_outcome

ID = "01937789-0000-7000-8000-000000000001"


@task
def example() -> None:
    """Do nothing."""


ENVELOPE = Envelope(ID, "other-key", 'a "name"', "json", b"{}", 1.7e9)


def a_run(**facts: Any) -> RunContext:
    known: dict[str, Any] = {"attempt": 2, "started_at": 1.7e9 + 0.1, "run_time": 3.2e-6}
    return RunContext(ID, example, 1.7e9, queue="q", worker="host-1", **(known | facts))


def ended(**facts: Any) -> Outcome:
    state = State(StateName.COMPLETED, 1.7e9 + 1 / 3)
    return replace(Outcome(state, payload=b"[1]"), **facts)


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        (a_run(), ended()),
        (a_run(started_at=None), ended(state=State(StateName.CACHED, 1.5))),
        (a_run(tags=("t",)), ended()),
        (a_run(parent_id=ID, root_id=ID), ended()),
        (a_run(version="2"), ended()),
        (a_run(lines_attempt=2), ended()),
        (a_run(lines_attempt=1), ended()),
        (a_run(headers={"jtask-run-name": "mine"}), ended()),
        (a_run(), ended(state=State(StateName.COMPLETED, 1.5, "well"))),
        (a_run(), ended(state=State(StateName.COMPLETED, 1.5, details={"name": "Fine"}))),
        (a_run(), ended(state=State(StateName.FAILED, 1.5), error=ValueError("no"))),
    ],
)
def test_an_outcome_is_written_the_same_in_either_way(run: RunContext, outcome: Outcome) -> None:
    delivery: Any = Delivery
    stored = store_outcome(run, ENVELOPE, delivery, outcome, 100_000)
    settled = settled_run(run, outcome, ENVELOPE, payload=outcome.payload or b"")
    assert stored.body == encode_outcome(settled)


def test_a_value_that_is_too_large_is_stored_apart() -> None:
    large = ended(payload=b"x" * 5000)
    delivery: Any = Delivery
    stored = store_outcome(a_run(), ENVELOPE, delivery, large, 1000)
    assert stored.blob == large.payload
    assert b'"blob":5000' in stored.body
