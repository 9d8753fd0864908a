"""`jtask runs ls` reads no more of the event log than it must."""

import time
from collections.abc import AsyncIterator
from typing import Any

import click.testing
import pytest

from jtask.cli import run_listing
from jtask.cli.program import main
from jtask.cli.tables import local_time
from jtask.client import get_client
from jtask.contract import Event
from jtask.ids import RunIds, created_at
from jtask.run_filters import RunFilter
from jtask.run_index import IndexPosition, RunPage
from jtask.run_summaries import summary_of
from jtask.states import StateName
from jtask.worker.exit_codes import ExitCode

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


class SlowIndex:
    """Finds one run on each third page, until somebody presses Ctrl-C."""

    url = "somewhere"

    def __init__(self, pages: int) -> None:
        self.ids = RunIds().new_many(pages + 1)[::-1]
        self.asked: list[str | None] = []

    def runs(self, wanted: RunFilter, *, after: str | None = None, limit: int = 50) -> RunPage:
        if len(self.asked) == len(self.ids) - 1:
            raise KeyboardInterrupt
        self.asked.append(after)
        last = self.ids[len(self.asked) - 1]
        event = Event(last, StateName.FAILED, created_at(last), TASK)
        found = [summary_of(event)] if len(self.asked) % 3 == 0 else []
        return RunPage(found[:limit], last, created_at(last))

    def position(self) -> IndexPosition:
        client = get_client()
        bounds = client.io.run(client.broker.events.bounds())
        return IndexPosition(bounds.last, bounds.identity, 0, time.time())

    def close(self) -> None:
        pass


def test_an_index_is_asked_on_until_enough_is_found(
    jtask_memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = SlowIndex(9)
    monkeypatch.setattr(run_listing, "open_index", lambda: index)
    result = listed("--text", "rare", "--limit", "2")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [
        index.ids[2],
        index.ids[5],
    ]
    assert index.asked == [None, *index.ids[:5]]
    assert result.exit_code == 0


def test_a_search_that_is_interrupted_shows_what_was_found_and_how_far_it_looked(
    jtask_memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = SlowIndex(4)
    monkeypatch.setattr(run_listing, "open_index", lambda: index)
    result = listed("--text", "rare")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [index.ids[2]]
    assert f"--until '{local_time(created_at(index.ids[3]) + 1)}'" in result.stderr
    assert result.exit_code == ExitCode.INTERRUPTED
