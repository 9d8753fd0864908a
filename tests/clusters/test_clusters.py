"""Runs on real clusters of Dask and Ray, of this machine.

Not part of the suite, for the packages are large: see the page on composing tasks.

    pip install '.[dask,ray]' && pytest -m clusters tests/clusters
"""

import importlib
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from jtask import flow, runtime, tags, task
from jtask.errors import RunNotReady
from jtask.task_runners import TaskRunner
from jtask_clusters import DaskTaskRunner, RayTaskRunner

pytestmark = [pytest.mark.clusters, pytest.mark.filterwarnings("ignore")]


@task
def where(number: int) -> tuple[int, int, str | None, int, list[str]]:
    known: int = runtime.task_run.parameters["number"]
    return known, os.getpid(), runtime.run_id, runtime.attempt, list(runtime.tags)


@task
async def double(number: int) -> int:
    return number * 2


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def count(most: int) -> Iterator[int]:
    yield from range(most)


@task(retries=1)
def fail(number: int) -> int:
    raise LookupError(f"no {number}, attempt {runtime.attempt}")


@task
def slow() -> None:
    time.sleep(60)


@task
def fan_out(numbers: list[int]) -> int:
    return sum(run.result() for run in double.map(numbers))


@pytest.fixture(scope="module", params=["dask", "ray"])
def runner(request: pytest.FixtureRequest) -> Iterator[TaskRunner]:
    if request.param == "dask":
        kwargs = {"n_workers": 2, "dashboard_address": None, "host": "127.0.0.1"}
        with DaskTaskRunner(cluster_kwargs=kwargs) as dask:
            yield dask
        return
    options = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False}
    with RayTaskRunner(init_kwargs=options) as ray:
        yield ray
    importlib.import_module("ray").shutdown()


@pytest.fixture(autouse=True)
def chosen(runner: TaskRunner) -> Iterator[None]:
    with runner.duplicate():
        yield


def test_functions_execute_in_processes_of_the_cluster_and_know_their_runs() -> None:
    with tags("far"):
        futures = where.map(range(8))
    ends: list[Any] = futures.result(timeout=60)
    assert [number for number, *_ in ends] == list(range(8))
    assert os.getpid() not in {pid for _, pid, *_ in ends}
    assert [run_id for _, _, run_id, *_ in ends] == [future.run_id for future in futures]
    assert all(rest == [1, ["far"]] for _, _, _, *rest in ends)


def test_coroutine_functions_and_dependencies_work_as_in_threads() -> None:
    first = double.submit(4)
    assert add.submit(first.as_value, 1).result(timeout=60) == 9


def test_a_generator_gives_the_list_of_its_items() -> None:
    assert count.submit(3).result(timeout=60) == [0, 1, 2]


def test_an_exception_is_the_functions_own_after_its_retries() -> None:
    broken = fail.submit(7)
    with pytest.raises(LookupError, match="no 7, attempt 2"):
        broken.result(timeout=60)
    with pytest.raises(RunNotReady):
        add.submit(broken.as_value, 1).result(timeout=60)


def test_a_cancelled_run_is_over_at_once() -> None:
    run = slow.submit()
    while run.state.name != "Running":
        time.sleep(0.01)
    run.cancel()
    assert run.wait(30)
    assert run.state.name == "Cancelled"


def test_a_run_that_takes_too_long_is_timed_out() -> None:
    run = slow.with_options(timeout_seconds=0.5).submit()
    assert run.wait(30)
    assert run.state.name == "TimedOut"


def test_a_task_of_the_cluster_submits_tasks_in_its_process() -> None:
    assert fan_out.submit([1, 2, 3]).result(timeout=60) == 12


def test_a_flow_has_the_cluster_as_its_task_runner(runner: TaskRunner) -> None:
    @flow(task_runner=runner)
    def on_cluster() -> list[int]:
        return [run.result() for run in double.map([1, 2, 3])]

    assert on_cluster() == [2, 4, 6]
