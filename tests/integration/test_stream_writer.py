"""How much of a stream a worker holds, and what becomes of it when the broker or a worker goes."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker
from waiting import PATIENCE, eventually

from jtask import runtime, task
from jtask.client import get_client
from jtask.contract import LogLine
from jtask.errors import BrokerError, BrokerUnavailable

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker


class Gate:
    """Holds what is appended to a broker's items, or refuses it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._items = get_client().broker.items
        self._append = self._items.append
        self.is_open = False
        self.refusal: Exception | None = None
        self.batches: list[int] = []
        monkeypatch.setattr(self._items, "append", self.append)

    async def append(self, lines: Sequence[LogLine]) -> None:
        while not self.is_open:
            await asyncio.sleep(0.005)
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            raise refusal
        self.batches.append(len(lines))
        await self._append(lines)


@pytest.fixture
def gate(jtask_broker: str, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_a_fast_generator_waits_for_the_broker_and_never_holds_more_than_a_bound(
    jtask_worker: StartWorker, gate: Gate
) -> None:
    yielded: list[int] = []

    @task
    def fast() -> Iterator[str]:
        for number in range(100):
            yielded.append(number)
            yield "x" * 100_000

    @task
    async def fast_async() -> Any:
        for number in range(100):
            yielded.append(number)
            yield "x" * 100_000

    jtask_worker(fast, fast_async)
    for work in (fast, fast_async):
        yielded.clear()
        gate.is_open = False
        run: Any = work.delay()
        # 4 MB are the bound; the next one is on its way into it.
        eventually(lambda: len(yielded) == 40)
        assert not threading.Event().wait(0.2)
        assert len(yielded) == 40
        gate.is_open = True
        assert sum(1 for _ in run.stream()) == 100


def test_what_the_broker_did_not_take_is_sent_again_and_stored_once(
    jtask_worker: StartWorker, gate: Gate
) -> None:
    @task
    def some() -> Iterator[int]:
        yield from range(5)

    jtask_worker(some)
    gate.refusal = BrokerUnavailable("away")
    gate.is_open = True
    assert list(some.delay().stream()) == [0, 1, 2, 3, 4]


def test_a_broker_that_refuses_items_fails_the_run(jtask_worker: StartWorker, gate: Gate) -> None:
    @task
    def some() -> Iterator[int]:
        yield 1

    jtask_worker(some)
    gate.refusal = BrokerError("no permission")
    gate.is_open = True
    with pytest.raises(BrokerError, match="no permission"):
        some.delay().result(timeout=PATIENCE)


def test_items_are_sent_in_batches(jtask_worker: StartWorker, gate: Gate) -> None:
    @task
    def many() -> Iterator[int]:
        yield from range(3000)

    jtask_worker(many)
    gate.is_open = True
    assert len(list(many.delay().stream())) == 3000
    assert len(gate.batches) < 300


begun: list[str] = []
go_on = threading.Event()


@task
def handed_over() -> Iterator[str]:
    begun.append(runtime.run_id)
    mine = begun.count(runtime.run_id)
    yield f"first of {mine}"
    if mine == 1:
        go_on.wait(PATIENCE)
    yield f"second of {mine}"


def test_only_the_items_of_the_latest_execution_of_an_attempt_count(
    jtask_worker: StartWorker,
) -> None:
    go_on.clear()
    worker = jtask_worker(handed_over)
    items = handed_over.delay().stream().items()
    assert next(items).value == "first of 1"
    worker.stop(0)
    jtask_worker(handed_over)
    assert [one.value for one in items] == ["first of 2", "second of 2"]
    go_on.set()
