"""What a worker does for those who wait for runs that end while it does not know who waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jtask.errors import BrokerUnavailable, ConfigurationError
from jtask.ids import RunIds
from jtask_dependencies.awaited import PREFIX, AwaitedRuns
from jtask_memory import MemoryBroker, Storage


class ParkedRuns:
    """Under which keys runs are parked, once that is told; and what was woken."""

    def __init__(self) -> None:
        self.told: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
        self.is_asked = asyncio.Event()
        self.woken: list[str] = []

    async def parked_keys(self, prefix: str) -> set[str]:
        assert prefix == PREFIX
        self.is_asked.set()
        return await asyncio.shield(self.told)

    async def wake(self, key: str, count: int, *, first: bool) -> int:
        self.woken.append(key.removeprefix(PREFIX))
        return 1


@asynccontextmanager
async def awaited_runs() -> AsyncIterator[tuple[AwaitedRuns, ParkedRuns]]:
    runs = ParkedRuns()
    broker = MemoryBroker("memory://test", Storage(), asyncio.get_running_loop())
    awaited = AwaitedRuns(cast("Any", SimpleNamespace(requests=broker.requests, runs=runs)))
    await awaited.open()
    await runs.is_asked.wait()
    yield awaited, runs
    await awaited.close()
    await broker.close()


def ends(awaited: AwaitedRuns, run_ids: list[str]) -> list[Awaitable[None]]:
    return [rest for run_id in run_ids if (rest := awaited.ended(run_id)) is not None]


def test_what_ends_while_it_is_learned_who_waits_is_woken_once_that_is_known() -> None:
    async def main() -> None:
        async with awaited_runs() as (awaited, runs):
            run_ids = [RunIds().new() for _ in range(100)]
            waking = asyncio.gather(*ends(awaited, run_ids))
            await asyncio.sleep(0)
            assert runs.woken == []
            runs.told.set_result({f"{PREFIX}{run_ids[7]}"})
            await waking
            assert runs.woken == [run_ids[7]]

    asyncio.run(main())


@pytest.mark.parametrize(
    "failure", [BrokerUnavailable("no answer"), ConfigurationError("JetStream is not enabled")]
)
def test_who_cannot_learn_who_waits_wakes_for_each_end(failure: Exception) -> None:
    async def main() -> None:
        async with awaited_runs() as (awaited, runs):
            run_ids = [RunIds().new() for _ in range(3)]
            waking = asyncio.gather(*ends(awaited, run_ids[:2]))
            runs.told.set_exception(failure)
            await waking
            await asyncio.gather(*ends(awaited, run_ids[2:]))
            assert runs.woken == run_ids

    asyncio.run(main())


def test_a_worker_that_knows_who_waits_does_nothing_for_the_others() -> None:
    async def main() -> None:
        async with awaited_runs() as (awaited, runs):
            first, second = RunIds().new(), RunIds().new()
            runs.told.set_result({f"{PREFIX}{first}"})
            await asyncio.gather(*ends(awaited, [second]))
            assert awaited.ended(second) is None
            await asyncio.gather(*ends(awaited, [first, second]))
            assert runs.woken == [first]

    asyncio.run(main())


def test_who_waits_to_learn_goes_on_when_the_worker_is_over() -> None:
    async def main() -> None:
        async with awaited_runs() as (awaited, runs):
            run_id = RunIds().new()
            waking = asyncio.gather(*ends(awaited, [run_id]))
            await awaited.close()
            await waking
            assert runs.woken == [run_id]
            await awaited.open()

    asyncio.run(main())
