"""What the log says about runs and workers."""

import logging

import pytest

import jtask_runlog
from jtask import State, StateName, task
from jtask.outcomes import Outcome
from jtask.runtime import RunContext


@task(name="resize-logged")
def resize(width: int) -> int:
    return width


def run(queue: str | None = "pictures") -> RunContext:
    return RunContext("the-id", resize, 0.0, worker="host-1", run_time=0.012, queue=queue)


def outcome(state: StateName, message: str = "", error: Exception | None = None) -> Outcome:
    return Outcome(State(state, 1.0, message), error=error)


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jtask")


def test_a_completed_run_is_one_line_with_its_facts_as_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jtask_runlog.jtask_settled(run(), outcome(StateName.COMPLETED))
    [record] = caplog.records
    assert record.getMessage() == "resize-logged the-id Completed in 12 ms (attempt 1)"
    assert (record.name, record.levelname) == ("jtask.task.resize-logged", "INFO")
    fields = vars(record)
    assert (fields["action"], fields["run_id"], fields["queue"]) == (
        "run_settled",
        "the-id",
        "pictures",
    )


def test_a_failed_run_is_an_error_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("no luck")
    except ValueError as error:
        jtask_runlog.jtask_settled(run(), outcome(StateName.FAILED, error=error))
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().endswith("(attempt 1): ValueError: no luck")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)
    assert logging.Formatter().format(record).count("Traceback") == 1


def test_the_template_of_a_line_tells_task_and_state_but_not_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for run_id in ("one", "two"):
        one = run()
        one.run_id = run_id
        jtask_runlog.jtask_settled(one, outcome(StateName.FAILED, error=ValueError(run_id)))
    assert {record.msg for record in caplog.records} == {
        "resize-logged %s Failed in %s (attempt %d)%s"
    }


def test_an_end_that_was_wanted_is_a_warning_with_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jtask_runlog.jtask_settled(run(), outcome(StateName.CANCELLED, "not today"))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().endswith("Cancelled in 12 ms (attempt 1): not today")


def test_a_direct_call_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    jtask_runlog.jtask_settled(run(queue=None), outcome(StateName.FAILED, error=ValueError()))
    assert caplog.records == []


def test_runs_set_aside_are_told_once_for_each_queue_and_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(5):
        jtask_runlog.jtask_rejected(f"id-{number}", "pictures", "a reason of this test")
    jtask_runlog.jtask_rejected("id-5", "mails", "a reason of this test")
    assert [record.getMessage() for record in caplog.records] == [
        "run id-0 from queue pictures is set aside: a reason of this test",
        "run id-5 from queue mails is set aside: a reason of this test",
    ]
