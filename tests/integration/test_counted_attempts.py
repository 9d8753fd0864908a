"""A run counts its attempts, and the seconds that they took, without the waits between them."""

import pytest
from in_process import StartWorker, on_each_broker
from waiting import PATIENCE

from jtask import runtime, tags, task

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


@task(retries=2, retry_delay_seconds=0.5)
def third_time() -> tuple[int, list[str], str | None]:
    if runtime.task_run.run_count < 3:
        raise ValueError("not yet")
    return runtime.task_run.run_count, runtime.task_run.tags, runtime.task_run.id


def test_the_waits_between_attempts_do_not_count_as_run_time(jtask_worker: StartWorker) -> None:
    jtask_worker(third_time)
    with tags("nightly"):
        run = third_time.delay()
    assert run.result(timeout=PATIENCE) == (3, ["nightly"], run.run_id)
    assert run.start_time is not None
    assert run.end_time is not None
    assert run.total_run_time is not None
    assert run.end_time - run.start_time >= 1.0
    # Three attempts that do nothing; the two waits are a second.
    assert run.total_run_time < run.end_time - run.start_time - 0.9
