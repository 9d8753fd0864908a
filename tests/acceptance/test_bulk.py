"""What is done to many runs at once, by commands and consoles that are killed on the way."""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from processes import JTASK, Program
from waiting import PATIENCE, eventually

pytestmark = pytest.mark.timeout(300)
RUNS = 1000
TASKS = """
import os
from jtask import task

@task(queue="work")
def pay(tenant: int) -> int:
    if not os.path.exists("repaired"):
        raise ValueError(f"no {tenant}")
    mark(f"{tenant}")
    return tenant
"""


class Index:
    """What the index's file says, read as anybody may."""

    def __init__(self, place: Any) -> None:
        self._folder = place.home

    def ask(self, question: str) -> list[Any]:
        [file] = self._folder.glob("index-*.sqlite")
        connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=PATIENCE)
        try:
            return connection.execute(question).fetchall()
        finally:
            connection.close()

    def dealt_with(self) -> int:
        [(count,)] = self.ask("SELECT count(*) FROM bulk_operation_run WHERE result <> ''")
        return int(count)

    def counts(self) -> dict[str, int]:
        question = "SELECT state, sum(runs) FROM task_run_count GROUP BY state HAVING sum(runs) > 0"
        return dict(self.ask(question))

    def operation(self) -> Any:
        [row] = self.ask("SELECT operation_id, kind, who, runs, finished FROM bulk_operation")
        return row


@pytest.fixture
def index(place: Any) -> Index:
    """The index of runs that have all failed, and would not fail again."""
    place.write("tasks.py", TASKS)
    place.serve("tasks.py:pay")
    follower = place.start(JTASK, "index")
    follower.says("following the event log")
    place.ask(
        f"""
        import tasks
        from jtask import close
        runs = tasks.pay.delay_many([(n,) for n in range({RUNS})])
        for run in runs:
            run.wait()
        close()
        print(json.dumps(len(runs)))
        """
    )
    index = Index(place)
    eventually(lambda: index.counts() == {"Failed": RUNS})
    (place.folder / "repaired").touch()
    return index


StartConsole = Callable[[], tuple[Program, httpx.Client]]


@pytest.fixture
def start_console(place: Any) -> Iterator[StartConsole]:
    """Start consoles; each with a client of its API."""
    clients: list[httpx.Client] = []

    def start() -> tuple[Program, httpx.Client]:
        console = place.start(JTASK, "console", "--port", "0")
        console.says("jtask console: ")
        address = re.search(r"jtask console: (\S+)", console.log)
        assert address is not None
        client = httpx.Client(base_url=address[1], timeout=PATIENCE)
        clients.append(client)
        # From now on it goes on with things.
        assert client.get("/api/counts").status_code == 200
        return console, client

    yield start
    for client in clients:
        client.close()


def kill_on_the_way(program: Program, index: Index, beyond: int) -> None:
    eventually(lambda: index.dealt_with() > beyond)
    program.kill()
    assert index.dealt_with() < RUNS
    assert index.operation()[-1] is None


def each_was_executed_once(place: Any) -> None:
    eventually(lambda: len(place.marks()) >= RUNS)
    assert Counter(place.marks()) == Counter(str(n) for n in range(RUNS))


def test_a_command_that_is_killed_is_resumed_and_reruns_each_run_once(
    place: Any, index: Index
) -> None:
    command = place.start(JTASK, "runs", "rerun", "--state", "failed", "--yes")
    kill_on_the_way(command, index, 100)
    operation_id, kind, who, runs, _ = index.operation()
    assert (kind, runs, "@" in who) == ("rerun runs", RUNS, True)
    kill_on_the_way(place.start(JTASK, "runs", "resume", operation_id), index, 200)
    done = place.jtask("runs", "resume", operation_id, "--json")
    assert json.loads(done.stdout)["results"] == {"rerun": RUNS}, done.stderr
    eventually(lambda: index.counts() == {"Failed": RUNS, "Completed": RUNS})
    each_was_executed_once(place)
    assert "not finished" not in place.jtask("runs", "operations").stdout


def test_consoles_and_commands_go_on_with_what_others_were_killed_at(
    place: Any, index: Index, start_console: StartConsole
) -> None:
    console, client = start_console()
    begun = client.post("/api/runs/rerun", json={"filter": "state=Failed"})
    assert begun.status_code in (200, 202), begun.text
    kill_on_the_way(console, index, 50)
    listed = json.loads(place.jtask("runs", "operations", "--json").stdout)
    assert [(one["who"], one["kind"], one["runs"]) for one in listed] == [
        ("local", "rerun runs", RUNS)
    ]
    # By itself, when the one that was killed is believed to be dead.
    second, _ = start_console()
    kill_on_the_way(second, index, 150)
    command = place.start(JTASK, "runs", "resume", listed[0]["operation_id"])
    kill_on_the_way(command, index, 250)
    _, client = start_console()
    eventually(lambda: index.operation()[-1] is not None)
    audit = client.get("/audit", headers={"Accept": "text/html"}).text
    assert "rerun runs" in audit
    assert "1\u202f000</span>" in audit
    eventually(lambda: index.counts() == {"Failed": RUNS, "Completed": RUNS})
    each_was_executed_once(place)


def test_dead_letters_whose_replay_is_killed_are_resumed_and_executed_once(
    place: Any, index: Index
) -> None:
    command = place.start(JTASK, "dead", "replay", "--all", "--yes")
    kill_on_the_way(command, index, 100)
    operation_id, kind, _, runs, _ = index.operation()
    assert (kind, runs) == ("replay dead letters", RUNS)
    done = place.jtask("runs", "resume", operation_id, "--json")
    assert json.loads(done.stdout)["results"] == {"replayed": RUNS}, done.stderr
    each_was_executed_once(place)
    assert json.loads(place.jtask("dead", "ls", "--json").stdout) == []


def test_what_is_done_to_runs_waits_for_the_broker(place: Any, index: Index) -> None:
    command = place.start(JTASK, "runs", "rerun", "--state", "failed", "--yes")
    eventually(lambda: index.dealt_with() > 100)
    place.kill_server()
    assert command.wait() == 0, command.log
    each_was_executed_once(place)
