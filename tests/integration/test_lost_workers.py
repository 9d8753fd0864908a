"""What a lost worker costs a run, and what costs it nothing, on each broker."""

import asyncio
import math
import time
from collections import Counter
from typing import Any

import pytest
from in_process import StartWorker, lose_workers, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import Run, runtime, task
from jtask.contract import Broker
from jtask.hooks import hookimpl
from jtask.lifecycle import Retry
from jtask.runtime import RunContext
from jtask_nats.broker import NatsBroker

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
FOR_EVER = 3600  # seconds; nothing here waits so long


@pytest.fixture(autouse=True)
def _short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JTASK_LEASE", "2")


def states(runs: list[Run[Any]]) -> Counter[str]:
    for run in runs:
        assert run.wait(PATIENCE)
    return Counter(run.state.name for run in runs)


def test_runs_that_a_hook_puts_off_again_and_again_lose_no_life(
    jtask_worker: StartWorker, jtask_plugin: Any
) -> None:
    opens = time.time() + 5

    class OfficeHours:
        @hookimpl
        def jtask_admit(self, run: RunContext) -> Retry | None:
            del run
            now = time.time()
            return Retry(math.floor(now) + 1, "the office is closed") if now < opens else None

    jtask_plugin(OfficeHours())

    @task
    def work(number: int) -> int:
        return number

    jtask_worker(work, concurrency=2)
    # Far more than come due at a full worker, second for second.
    assert states(work.delay_many([(n,) for n in range(200)])) == {"Completed": 200}


def test_an_attempt_that_a_deploy_hands_back_costs_no_life(jtask_worker: StartWorker) -> None:
    seen: list[int] = []

    @task(retries=6, retry_delay_seconds=0)
    async def unlucky() -> int:
        seen.append(runtime.attempt)
        if seen.count(runtime.attempt) == 1:
            await asyncio.sleep(FOR_EVER)
        if runtime.attempt < 7:
            raise ValueError(f"attempt {runtime.attempt}")
        return runtime.attempt

    run = unlucky.delay()
    for attempt in range(1, 8):
        worker = jtask_worker(unlucky)
        eventually(lambda: attempt in seen)  # noqa: B023 - called at once
        worker.stop(0)
    jtask_worker(unlucky)
    assert run.result(PATIENCE) == 7
    assert seen == sorted([*range(1, 8)] * 2)


def test_graceful_stops_make_no_suspects(jtask_worker: StartWorker) -> None:
    started: list[int] = []
    together = asyncio.Semaphore(0)

    @task
    async def work(number: int) -> int:
        started.append(number)
        if len(started) <= 20:
            await asyncio.sleep(FOR_EVER)
        if len(started) == 30:  # all ten at the same time, or never
            for _ in range(10):
                together.release()
        await together.acquire()
        return number

    runs = work.delay_many([(n,) for n in range(10)])
    for stops in (1, 2):
        worker = jtask_worker(work)
        eventually(lambda: len(started) == 10 * stops)  # noqa: B023 - called at once
        worker.stop(0)
    jtask_worker(work)
    assert states(runs) == {"Completed": 10}


def test_only_starts_that_end_with_the_worker_are_charged(jtask_worker: StartWorker) -> None:
    started: list[int] = []

    @task
    async def innocent() -> int:
        started.append(1)
        if len(started) <= 4:
            await asyncio.sleep(FOR_EVER)
        return len(started)

    run = innocent.delay()
    # They died before they had started it: of those only one may have been its own doing.
    lose_workers(innocent.queue, 3)
    for starts in range(1, 5):
        worker = jtask_worker(innocent)
        eventually(lambda: len(started) == starts or run.state.is_final())  # noqa: B023 - called at once
        worker.stop(0)
    jtask_worker(innocent)
    assert run.result(PATIENCE) == 5


def test_nothing_is_kept_of_the_lives_of_runs_that_have_ended(
    jtask_worker: StartWorker, jtask_broker: str
) -> None:
    if jtask_broker.startswith("memory"):
        pytest.skip("it keeps nothing beside the run")
    held: list[int] = []

    @task(retries=1, retry_delay_seconds=0)
    async def eventful() -> int:
        held.append(1)
        if len(held) == 1:
            await asyncio.sleep(FOR_EVER)
        if len(held) == 2:
            raise ValueError("once more")
        return 1

    run = eventful.delay()
    lose_workers(eventful.queue, 2)
    worker = jtask_worker(eventful)
    eventually(lambda: held)
    worker.stop(0)
    jtask_worker(eventful)
    assert run.result(PATIENCE) == 1

    async def kept(broker: Broker) -> int:
        assert isinstance(broker, NatsBroker)
        info = await broker._connection.api("STREAM.INFO.JTASK_default_TALLIES")
        return int(info["state"]["messages"])

    eventually(lambda: on_io(kept) == 0)
