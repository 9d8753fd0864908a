"""What a worker's log says of a run from its start to its end, on both brokers."""

import logging

import pytest
from in_process import StartWorker, lose_workers, on_each_broker
from waiting import PATIENCE

from jtask import runtime, task

jtask_broker = on_each_broker


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JTASK_LEASE", "1")


@task(name="flaky-told", retries=1)
def flaky() -> str:
    if runtime.attempt == 1:
        raise ConnectionError("no answer")
    return "done"


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_a_run_is_told_from_start_to_end_with_its_retry(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture, level: int
) -> None:
    caplog.set_level(level, "jtask")
    jtask_worker(flaky)
    run = flaky.delay()
    assert run.result(timeout=PATIENCE) == "done"
    told = [one for one in caplog.records if one.name == "jtask.task.flaky-told"]
    actions = [vars(one)["action"] for one in told]
    if level == logging.INFO:
        assert actions == ["run_retried", "run_settled"]
    else:
        assert actions == ["run_started", "run_retried", "run_started", "run_settled"]
    retried = next(one for one in told if vars(one)["action"] == "run_retried")
    assert retried.levelname == "WARNING"
    again = f"flaky-told {run.run_id} is tried again at once: ConnectionError: no answer; attempt 2"
    assert retried.getMessage().startswith(again)
    assert {vars(one)["run_id"] for one in told} == {run.run_id}


@pytest.mark.usefixtures("short_lease", "jtask_broker")
def test_a_run_that_is_taken_over_from_lost_workers_says_so(
    jtask_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    @task(name="orphaned")
    def orphaned() -> int:
        return 1

    run = orphaned.delay()
    lose_workers(orphaned.queue, 1)
    jtask_worker(orphaned)
    assert run.result(timeout=PATIENCE) == 1
    (told,) = [one for one in caplog.records if vars(one).get("action") == "run_taken_over"]
    assert told.levelname == "WARNING"
    assert told.getMessage() == (
        f"orphaned {run.run_id} is taken over: a worker was lost while it executed (attempt 1)"
    )
    assert vars(told)["lost_workers"] == 1
