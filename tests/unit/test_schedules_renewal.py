"""A worker declares its schedules once it takes runs, until it stops."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from jtask import task
from jtask.runtime import WorkerInfo
from jtask_schedules.renewal import renewed


@task(every=3600)
def hourly() -> None: ...


class Worker:
    """Starts and stops when it is told to, and counts what is asked of its broker."""

    broker = None

    def __init__(self) -> None:
        self.takes_runs: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.stops = asyncio.Event()
        self.asked = asyncio.Event()

    async def started(self) -> bool:
        return await self.takes_runs

    async def stopping(self) -> None:
        await self.stops.wait()

    async def on_io(self, coroutine: Any) -> None:
        coroutine.close()
        self.asked.set()
        await asyncio.Event().wait()


def info(worker: Worker) -> WorkerInfo:
    return cast("WorkerInfo", SimpleNamespace(tasks=(hourly,), worker=worker))


def test_nothing_is_declared_before_the_worker_takes_runs_and_it_ends_as_the_worker_stops() -> None:
    async def live() -> None:
        worker = Worker()
        async with renewed(info(worker)):
            await asyncio.sleep(0)
            assert not worker.asked.is_set()
            worker.takes_runs.set_result(True)
            await worker.asked.wait()
            worker.stops.set()

    asyncio.run(live())


def test_a_worker_that_never_takes_runs_declares_nothing() -> None:
    async def live() -> None:
        worker = Worker()
        async with renewed(info(worker)):
            worker.takes_runs.set_result(False)
        assert not worker.asked.is_set()

    asyncio.run(live())
