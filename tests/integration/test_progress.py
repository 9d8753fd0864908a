"""How far a run is can be read by anybody while it executes, and afterwards."""

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker
from waiting import PATIENCE, eventually

from jtask import get_run, runtime, task
from jtask.client import get_client
from jtask.errors import EnvelopeError
from jtask.wire.progress import BUCKET, Progress, decode_progress

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


def told(run_id: str) -> tuple[float, float | None, str] | None:
    found = get_run(run_id).progress()
    return None if found is None else (found.done, found.total, found.message)


def test_progress_is_read_while_the_run_executes(jtask_worker: StartWorker) -> None:
    seen = threading.Event()

    @task
    def works() -> None:
        runtime.progress(1, 3, "begun")
        assert seen.wait(PATIENCE)
        runtime.progress(3, 3)

    jtask_worker(works)
    run = works.delay()
    eventually(lambda: told(run.run_id) == (1, 3, "begun"))
    seen.set()
    run.result(timeout=PATIENCE)
    eventually(lambda: told(run.run_id) == (3, 3, ""))
    found = asyncio.run(run.progress_async())
    assert found is not None
    assert (found.attempt, found.fraction, str(found)) == (1, 1.0, "3/3")


def test_a_run_that_says_nothing_has_no_progress(jtask_worker: StartWorker) -> None:
    @task
    def silent() -> None: ...

    jtask_worker(silent)
    run = silent.delay()
    run.result(timeout=PATIENCE)
    assert run.progress() is None


def test_asynchronous_tasks_and_threads_of_a_task_report(jtask_worker: StartWorker) -> None:
    @task
    async def asynchronous() -> None:
        runtime.progress(0.5, message="half")

    @task
    def in_threads() -> None:
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(runtime.progress, 7, 9))
        thread.start()
        thread.join()

    jtask_worker(asynchronous, in_threads)
    run, other = asynchronous.delay(), in_threads.delay()
    eventually(lambda: told(run.run_id) == (0.5, None, "half"))
    eventually(lambda: told(other.run_id) == (7, 9, ""))


@task(isolation="process")
def apart(most: int) -> int:
    for number in range(most + 1):
        runtime.progress(number, most)
    return most


def test_child_processes_report(jtask_worker: StartWorker) -> None:
    jtask_worker(apart)
    run = apart.delay(2000)
    assert run.result(timeout=PATIENCE) == 2000
    eventually(lambda: told(run.run_id) == (2000, 2000, ""))


def test_direct_calls_and_generators_report() -> None:
    get_client()
    ids: list[str] = []

    @task
    def direct() -> Iterator[int]:
        ids.append(runtime.run_id)
        runtime.progress(1, 2)
        yield 1

    assert list(direct()) == [1]
    eventually(lambda: told(ids[0]) == (1, 2, ""))


def test_many_reports_are_few_for_the_broker(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = get_client().broker.records
    put, stored = records.put, list[Progress]()

    async def counted(bucket: str, key: str, body: bytes, **options: Any) -> bool:
        if bucket == BUCKET:
            stored.append(decode_progress(body))
        return await put(bucket, key, body, **options)

    monkeypatch.setattr(records, "put", counted)

    @task
    def busy() -> None:
        for number in range(50_000):
            runtime.progress(number, 50_000)

    jtask_worker(busy)
    run = busy.delay()
    run.result(timeout=PATIENCE)
    eventually(lambda: told(run.run_id) == (49_999, 50_000, ""))
    assert run.total_run_time is not None
    assert len(stored) <= 3 + 5 * run.total_run_time


def test_progress_outside_of_a_run_does_nothing_and_wrong_values_are_refused() -> None:
    runtime.progress(1, 2, "x")
    for wrong in (("1",), (1, "2"), (1, 2, 3), (True,), (float("nan"),), (1, float("inf"))):
        with pytest.raises(TypeError, match="progress: "):
            runtime.progress(*wrong)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"total": 3}', b'{"done": "x"}'])
def test_progress_that_cannot_be_read_says_so(body: bytes) -> None:
    with pytest.raises(EnvelopeError):
        decode_progress(body)


def test_progress_is_read_as_it_was_written() -> None:
    for one in (Progress(1, 2, "ärger", 12.5, 3), Progress(0.5)):
        assert decode_progress(one.encode()) == one
    assert [Progress(1, 0).fraction, Progress(5, 4).fraction, Progress(-1, 4).fraction] == [
        None,
        1.0,
        0.0,
    ]
    assert str(Progress(3, None, "rows")) == "3 rows"
