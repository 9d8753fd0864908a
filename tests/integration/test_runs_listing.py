"""`jtask runs ls` reads no more of the event log than it must."""

import time
from collections.abc import AsyncIterator
from typing import Any

import click.testing
import pytest

from jtask.cli import main
from jtask.client import get_client
from jtask.contract import Event
from jtask.ids import RunIds
from jtask.states import StateName

TASK = "resize-0123456789ab"


@pytest.fixture
def looks(jtask_memory: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How many seconds back each look into the event log went."""
    broker = get_client().broker
    read, ages = broker.events.read, list[float]()

    def watched(*, since: float | None = None) -> AsyncIterator[Event]:
        assert since is not None
        ages.append(time.time() - since)
        return read(since=since)

    monkeypatch.setattr(broker.events, "read", watched)
    return ages


def append(count: int, state: StateName) -> list[str]:
    ids = RunIds().new_many(count)
    client = get_client()

    async def send() -> None:
        client.broker.events.append([Event(run_id, state, time.time(), TASK) for run_id in ids])

    client.io.run(send())
    return ids


def listed(*options: str) -> Any:
    return click.testing.CliRunner().invoke(main, ["runs", "ls", *options], catch_exceptions=False)


def test_the_newest_runs_are_found_in_one_short_look(looks: list[float]) -> None:
    ids = append(30, StateName.RUNNING)
    lines = listed("--since", "7d").stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ids[:-21:-1]
    [age] = looks
    assert age < 300


def test_further_looks_are_made_until_enough_is_found(looks: list[float]) -> None:
    append(30, StateName.RUNNING)
    [bad] = append(1, StateName.FAILED)
    lines = listed("--since", "2h", "--state", "failed").stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [bad]
    assert looks == sorted(looks)
    assert len(looks) == 4
    assert 7200 <= looks[-1] < 7300


def test_an_empty_list_says_since_when(jtask_memory: str) -> None:
    assert "no such runs since 20" in listed("--task", "resize").stderr
