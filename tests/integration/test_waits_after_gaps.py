"""Who waits over a lost connection asks for what was missed once, and is told what is gone."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from in_process import StartWorker
from nats_servers import NatsServer
from waiting import PATIENCE, eventually

from jtask import task
from jtask.client import close_client, get_client, waits
from jtask.errors import RunNotFound
from jtask.ids import RunIds
from jtask.settings import get_settings

gate = threading.Event()


@task
def work(n: int) -> int:
    return n


@task
def held(n: int) -> int:
    gate.wait(PATIENCE)
    return n


@pytest.fixture
def jtask_broker(nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("JTASK_URL", nats_server.url)
    close_client()
    get_settings.cache_clear()
    gate.clear()
    yield nats_server.url
    gate.set()
    close_client()
    get_settings.cache_clear()


@pytest.mark.usefixtures("jtask_broker")
def test_after_a_gap_each_run_is_asked_for_once_however_many_are_waited_for(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_DOUBT_SECONDS", ())
    runs = work.with_options(delay=3600).delay_many([(n,) for n in range(50)])
    # As those of another process: each has a subscription of its own.
    monkeypatch.setattr(get_client()._waits, "_client", RunIds().client)
    results, asked = get_client().broker.results, Counter[str]()
    get = results.get
    watch, watches = results.watch, threading.Semaphore(0)

    async def counted_watch(*arguments: Any) -> Any:
        subscription = await watch(*arguments)
        watches.release()
        return subscription

    async def counted_get(run_id: str) -> Any:
        record = await get(run_id)
        asked[run_id] += 1
        return record

    monkeypatch.setattr(results, "watch", counted_watch)
    for run in runs:
        run.add_done_callback(lambda _: None)
    assert all(watches.acquire(timeout=PATIENCE) for _ in runs)
    monkeypatch.setattr(results, "get", counted_get)
    nats_server.kill()
    nats_server.start()
    eventually(lambda: len(asked) == len(runs))
    assert work.with_options(delay=3600).delay(1).state.name == "Scheduled"
    assert max(asked[run.run_id] for run in runs) <= 3  # and not once for each that is waited for


def test_who_waits_for_a_run_that_went_with_the_store_is_told_and_others_wait_on(
    nats_server: NatsServer,
    jtask_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(waits, "_DOUBT_SECONDS", (0.5, 1.0))
    jtask_worker(held)
    gone = work.with_options(delay=3600).delay(1)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(gone.result, PATIENCE)
        eventually(lambda: gone.is_awaited)
        nats_server.kill()
        [store] = tmp_path.glob("nats*/store")
        shutil.rmtree(store)
        nats_server.start()
        stays = held.delay(2)
        still = pool.submit(stays.result, PATIENCE)
        with pytest.raises(RunNotFound, match=gone.run_id):
            waiting.result(PATIENCE)
        assert not still.done()
        gate.set()
        assert still.result(PATIENCE) == 2
    with pytest.raises(RunNotFound):
        gone.result(PATIENCE)
