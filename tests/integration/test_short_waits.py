"""Whoever waits for a run that ends soon hears of it without a word to the I/O thread."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from in_process import StartWorker
from waiting import PATIENCE, eventually

from jtask import task
from jtask.client import get_client, short_waits, waits
from jtask.contract import OutcomeRecord
from jtask.errors import ResultTimeout
from jtask_nats.client import blocking_links, loop_links

pytestmark = pytest.mark.usefixtures("jtask_broker")
gate = threading.Event()


@task
def work(n: int = 0) -> int:
    return n


@task
def blocked(n: int = 0) -> int:
    gate.wait(PATIENCE)
    return n


@pytest.fixture
def jtask_broker(jtask_nats: str) -> str:
    return jtask_nats


@pytest.fixture(autouse=True)
def opened_gate() -> Iterator[None]:
    gate.clear()
    yield
    gate.set()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a moment be as long as it takes, and connections be worth it however slow all is."""
    monkeypatch.setattr(short_waits, "_MOMENT", PATIENCE)
    for module in (blocking_links, loop_links):
        monkeypatch.setattr(module, "CLOSE_TOGETHER", 3600.0)


def refuse_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    def watch(*_: object) -> Any:
        raise AssertionError("somebody waits in the common way")

    monkeypatch.setattr(get_client().broker.results, "watch", watch)


@pytest.mark.usefixtures("patient")
def test_a_thread_hears_of_the_ends_itself(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    jtask_worker(work)
    publisher = get_client().broker.runs._session.publisher  # type: ignore[attr-defined]
    while not publisher.blocking_links._free:
        work.delay()
    refuse_watches(monkeypatch)
    assert [work.delay(n).result(PATIENCE) for n in range(20)] == list(range(20))
    # One that has ended already is asked for.
    run = work.delay(7)
    eventually(lambda: run.state.is_final())
    assert get_client().handle(run.run_id, work).result() == 7


def test_many_threads_get_each_its_own(jtask_worker: StartWorker) -> None:
    jtask_worker(work)

    def ask(n: int) -> list[int]:
        return [work.delay(n * 100 + i).result(PATIENCE) for i in range(30)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert found == [[n * 100 + i for i in range(30)] for n in range(8)]


@pytest.mark.usefixtures("patient")
def test_coroutines_hear_of_the_ends_on_their_own_loop(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    jtask_worker(work)

    async def main() -> None:
        publisher = get_client().broker.runs._session.publisher  # type: ignore[attr-defined]
        while publisher.loop_links._link() is None:
            await work.adelay()
        refuse_watches(monkeypatch)
        for n in range(20):
            assert await (await work.adelay(n)) == n

    asyncio.run(main())


def test_a_timeout_within_the_moment_is_kept(jtask_worker: StartWorker) -> None:
    jtask_worker(blocked)
    for _ in range(3):
        run = blocked.delay(4)
        with pytest.raises(ResultTimeout):
            run.result(0.005)
    gate.set()
    assert run.result(PATIENCE) == 4


@pytest.mark.usefixtures("patient")
def test_a_handler_that_raises_ends_the_wait_and_the_next_gets_its_own_end(
    jtask_worker: StartWorker,
) -> None:
    jtask_worker(work, blocked)
    work.delay().wait(PATIENCE)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        run = blocked.delay(1)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(TimeoutError, match="by a handler"):
            run.result()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [work.delay(n).result(PATIENCE) for n in range(5)] == [0, 1, 2, 3, 4]
    gate.set()
    assert run.result(PATIENCE) == 1


def interrupt(*_: object) -> None:
    raise TimeoutError("by a handler")


@pytest.mark.usefixtures("patient")
def test_what_somebody_else_pushes_is_no_end(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def junk(run_id: str, seconds: float) -> OutcomeRecord:
        del seconds
        return OutcomeRecord(run_id, b'{"v":1,"id":"another"}')

    async def junk_async(run_id: str, seconds: float) -> OutcomeRecord:
        return junk(run_id, seconds)

    monkeypatch.setattr(get_client()._waits._short, "_from_thread", junk)
    monkeypatch.setattr(get_client()._waits._short, "_from_loop", junk_async)
    jtask_worker(work)
    assert work.delay(3).result(PATIENCE) == 3
    assert asyncio.run(work.delay(4).result_async(PATIENCE)) == 4


def test_nobody_listens_for_all_runs_once_nobody_waits(
    jtask_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_KEEP_SECONDS", 0.05)
    mine = get_client()._waits
    held = blocked.delay(1)
    ended: list[Any] = []
    held.add_done_callback(lambda run: ended.append(run.result()))
    eventually(lambda: mine._own is not None)
    kept = mine._own
    tracked = blocked.delay(2)
    eventually(lambda: is_over(mine, kept, 0.3))
    jtask_worker(blocked)
    gate.set()
    eventually(lambda: ended == [1])
    eventually(lambda: mine._own is None)
    assert tracked.result(PATIENCE) == 2
    # And whoever waits again listens again.
    again = blocked.delay(3)
    again.add_done_callback(lambda run: ended.append(run.result()))
    eventually(lambda: ended == [1, 3])


def is_over(mine: Any, kept: object, seconds: float) -> bool:
    """Let some time pass, in which somebody waits all the while."""
    threading.Event().wait(seconds)
    assert mine._own is kept
    return True


class TestMoments:
    """Those who wait for what takes long seldom keep a connection for it."""

    class Results:
        def __init__(self, take: Callable[[], bool]) -> None:
            self.take, self.asked = take, 0

        def get_from_thread(self, run_id: str, seconds: float) -> OutcomeRecord | None:
            self.asked += 1
            if self.take():
                return OutcomeRecord(run_id, b'{"v":1,"id":"%b",' % run_id.encode())
            threading.Event().wait(seconds)
            return None

    def test_the_longer_nothing_comes_the_more_seldom_it_is_tried(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(short_waits, "_MOMENT", 0.001)
        comes = False
        results = self.Results(lambda: comes)
        short = short_waits.ShortWaits(results)  # type: ignore[arg-type]
        for _ in range(1000):
            assert short.fetch("r", None) is None
        assert results.asked < 25
        comes, before = True, results.asked
        found = [short.fetch("r", None) for _ in range(200)]
        assert results.asked - before > 130
        assert found[-1] is not None

    def test_no_time_at_all_asks_nobody(self) -> None:
        results = self.Results(lambda: True)
        short = short_waits.ShortWaits(results)  # type: ignore[arg-type]
        assert short.fetch("r", 0) is None
        assert short.fetch("r", -1.0) is None
        assert results.asked == 0
