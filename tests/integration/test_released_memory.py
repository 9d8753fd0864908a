"""What a run held in memory is free when it is over, without waiting for the garbage collector."""

import asyncio
import contextlib
import gc
import logging
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
from in_process import StartWorker, on_each_broker
from waiting import PATIENCE, eventually

from jtask import Task, task
from jtask.execution.job import Job
from jtask.runtime import RunContext
from jtask.testing import run_worker
from jtask.wire.envelope import Envelope

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
_arguments: list[weakref.ref[Any]] = []


class Large(pydantic.BaseModel):
    size: int


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    _arguments.clear()
    # pytest keeps all records for its report, and they hold what was raised.
    logging.disable()
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    logging.disable(logging.NOTSET)


def fail(large: Large) -> None:
    _arguments.append(weakref.ref(large))
    raise ValueError(large.size)


def fail_in_handling(large: Large) -> None:
    try:
        fail(large)
    except ValueError as error:
        raise RuntimeError(large.size) from error


def overrun(large: Large) -> None:
    _arguments.append(weakref.ref(large))
    while True:
        time.sleep(0.001)


async def fail_on_loop(large: Large) -> None:
    await asyncio.sleep(0)
    fail(large)


async def overrun_on_loop(large: Large) -> None:
    _arguments.append(weakref.ref(large))
    await asyncio.sleep(3600)


@pytest.mark.parametrize(
    "failing",
    [
        task(fail),
        task(fail, retries=1),
        task(fail, timeout_seconds=60),
        task(fail_in_handling),
        task(overrun, timeout_seconds=0.05),
        task(fail_on_loop),
        task(fail_on_loop, timeout_seconds=60),
        task(overrun_on_loop, timeout_seconds=0.05),
    ],
)
def test_the_arguments_of_a_failed_run_are_free_at_once(
    failing: Task[..., Any], jtask_worker: StartWorker
) -> None:
    jtask_worker(failing)
    runs = [failing.delay(Large(size=n)) for n in range(3)]
    for run in runs:
        assert run.wait(PATIENCE)
        assert run.state.name in {"Failed", "TimedOut"}
    assert len(_arguments) >= 3
    eventually(lambda: [kept for kept in _arguments if kept() is not None] == [])


async def succeed_on_loop(large: Large) -> int:
    return large.size


def succeed(large: Large) -> int:
    return large.size


@pytest.mark.parametrize(
    "serving", [task(succeed), task(succeed_on_loop), task(fail), task(fail_on_loop)]
)
def test_a_run_that_is_over_leaves_a_worker_nothing_to_collect(
    serving: Task[..., Any], jtask_worker: StartWorker
) -> None:
    jtask_worker(serving)
    runs = serving.delay_many([(Large(size=n),) for n in range(3)])
    run_ids = {run.run_id for run in runs}

    def left() -> list[object]:
        found = [one for one in gc.get_objects() if isinstance(one, RunContext | Envelope)]
        jobs = [one for one in gc.get_objects() if isinstance(one, Job)]
        return [one for one in (*found, *(job.envelope for job in jobs)) if one.run_id in run_ids]

    for run in runs:
        assert run.wait(PATIENCE)
    eventually(lambda: left() == [])


@pytest.mark.parametrize("function", [fail, fail_in_handling])
def test_the_arguments_of_a_failed_direct_call_are_free_with_its_exception(function: Any) -> None:
    failing = task(function)
    with contextlib.suppress(ValueError, RuntimeError):
        failing(Large(size=1))
    assert [kept for kept in _arguments if kept() is not None] == []


def test_a_stopped_worker_keeps_none_of_its_tasks() -> None:
    def serve() -> weakref.ref[Any]:
        @task
        def brief() -> int:
            return 1

        with run_worker(brief):
            assert brief.delay().result(PATIENCE) == 1
        return weakref.ref(brief)

    def is_free() -> bool:
        gc.collect()
        return kept() is None

    kept = serve()
    eventually(is_free)
