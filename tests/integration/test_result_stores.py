"""Outcomes on a second NATS server, while everything else is on the first."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from in_process import StartWorker
from nats_clients import open_connection
from nats_servers import NatsServer, StartNats
from waiting import PATIENCE

from jtask import get_run, task
from jtask.client import close_client, get_client
from jtask.contract import OutcomeRecord
from jtask.errors import BrokerUnavailable
from jtask.outcomes import CancelResult
from jtask.settings import get_settings
from jtask.states import StateName
from jtask_nats import open_broker


@task
def triple(number: int) -> int:
    return number * 3


@task
def repeat(text: str, times: int) -> str:
    return text * times


@pytest.fixture
def runs(start_nats: StartNats) -> str:
    """The server for everything but outcomes."""
    return str(start_nats().url)


@pytest.fixture
def outcomes(start_nats: StartNats) -> Any:
    """The server for outcomes."""
    return start_nats()


@pytest.fixture
def jtask_broker(
    runs: str, outcomes: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """What `jtask_worker` uses."""
    monkeypatch.setenv("JTASK_URL", runs)
    monkeypatch.setenv("JTASK_RESULTS_URL", outcomes.url)
    close_client()
    get_settings.cache_clear()
    yield
    close_client()
    get_settings.cache_clear()


def stored(url: str, run_id: str) -> OutcomeRecord | None:
    async def ask() -> OutcomeRecord | None:
        broker = await open_broker(url, "0123456789", asyncio.get_running_loop())
        try:
            return await broker.results.get(run_id)
        finally:
            await broker.close()

    return asyncio.run(ask())


def streams(url: str) -> set[str]:
    async def ask() -> set[str]:
        connection = await open_connection(url)
        try:
            answer = await connection.request("$JS.API.STREAM.NAMES", timeout=20.0)
        finally:
            await connection.close()
        return {name.rpartition("_")[2] for name in json.loads(answer.data)["streams"] or ()}

    return asyncio.run(ask())


def test_the_second_server_keeps_the_outcomes_and_nothing_else(
    jtask_worker: StartWorker, runs: str, outcomes: NatsServer
) -> None:
    jtask_worker(triple)
    run = triple.delay(14)
    assert run.result(PATIENCE) == 42
    assert get_run(run.run_id, triple).result(PATIENCE) == 42
    assert run.state.name is StateName.COMPLETED
    assert "EVENTS" in streams(runs)
    # Looked at before `stored`, which opens a whole broker there.
    assert streams(outcomes.url) == {"RESULTS"}
    assert stored(runs, run.run_id) is None
    assert stored(outcomes.url, run.run_id) is not None


def test_a_result_that_is_too_big_for_a_message_arrives(jtask_worker: StartWorker) -> None:
    jtask_worker(repeat)
    times = get_client().inline_limit
    assert repeat.delay("ab", times).result(PATIENCE) == "ab" * times


def test_the_end_of_a_cancelled_run_is_stored_there_too(
    jtask_broker: None, outcomes: NatsServer
) -> None:
    run = triple.delay(1)
    answer = run.cancel()
    assert answer.result is CancelResult.NEVER_STARTS
    assert run.wait(PATIENCE)
    assert stored(outcomes.url, run.run_id) is not None


def test_an_outcome_waits_in_the_worker_until_its_server_is_back(
    jtask_worker: StartWorker, outcomes: NatsServer
) -> None:
    jtask_worker(triple)
    assert triple.delay(1).result(PATIENCE) == 3
    outcomes.kill()
    run = triple.delay(2)
    outcomes.start()
    assert run.result(PATIENCE) == 6


def test_a_result_store_that_is_down_is_named_where_the_process_connects(
    jtask_broker: None, outcomes: NatsServer
) -> None:
    outcomes.kill()
    get_settings.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JTASK_CONNECT_TIMEOUT", "0.5")
        with pytest.raises(BrokerUnavailable) as failed:
            triple.delay(1)
    assert f"the result store: no NATS server answered at {outcomes.url}" in str(failed.value)
    assert "or point JTASK_RESULTS_URL to a running one" in str(failed.value)
