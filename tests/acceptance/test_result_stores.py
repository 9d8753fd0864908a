"""The third-party result store in examples/plugins, installed as a user would."""

import sqlite3
from pathlib import Path

import pytest
from installing import install
from processes import Place

FOLDER = Path(__file__).parents[2] / "examples" / "plugins" / "sqlite_results"
IN_ONE_PROCESS = """
from jtask import get_run, task
from jtask.testing import run_worker

@task
def triple(number: int) -> int:
    return number * 3

with run_worker(triple):
    run = triple.delay(14)
    print(json.dumps([run.run_id, run.result(20), get_run(run.run_id).result(20)]))
"""


@pytest.fixture
def file(place: Place) -> Path:
    """Where outcomes are kept; every process of the place finds the store by its entry point."""
    site = place.folder / "site"
    install(FOLDER, site)
    file = place.folder / "results.db"
    place.env |= {"PYTHONPATH": str(site), "JTASK_RESULTS_URL": f"sqlite://{file}"}
    return file


def runs_in(file: Path) -> set[str]:
    connection = sqlite3.connect(file)
    try:
        found = connection.execute("SELECT run FROM outcomes").fetchall()
    finally:
        connection.close()
    return {run.rpartition(".")[2] for (run,) in found}


def test_it_keeps_the_outcomes_of_the_memory_broker(place: Place, file: Path) -> None:
    place.env["JTASK_URL"] = "memory://"
    run_id, own, foreign = place.ask(IN_ONE_PROCESS)
    assert (own, foreign) == (42, 42)
    assert runs_in(file) == {run_id}


def test_it_keeps_the_outcomes_of_a_nats_broker_for_all_processes(place: Place, file: Path) -> None:
    place.write("tasks.py", "from jtask import task\n@task\ndef up(s: str): return s.upper()\n")
    place.serve("tasks.py").is_ready()
    caller = (
        "from tasks import up\nrun = up.delay('a')\nprint(json.dumps([run.run_id, run.result(30)]))"
    )
    run_id, result = place.ask(caller)
    assert result == "A"
    assert place.result(run_id)["result"] == "A"
    assert runs_in(file) == {run_id}
    assert place.jtask("version", "--json").stdout.count(str(file)) == 1


def test_a_result_store_that_is_not_installed_is_named(place: Place) -> None:
    done = place.jtask("runs", "ls", JTASK_URL="memory://", JTASK_RESULTS_URL="sqlite:///x.db")
    assert done.returncode == 2
    assert "no result store has the scheme 'sqlite' (is its package installed?)" in done.stderr


def test_who_looks_into_another_store_than_the_worker_is_told(place: Place, file: Path) -> None:
    place.write("tasks.py", "from jtask import task\n@task\ndef up(s: str): return s.upper()\n")
    place.serve("tasks.py").is_ready()
    run_id = place.enqueue("tasks:up", "a")
    assert place.result(run_id)["result"] == "A"
    done = place.jtask("result", run_id, JTASK_RESULTS_URL="embedded://")
    assert done.returncode == 1
    assert f"run {run_id} has been Completed since" in done.stderr
    assert "or is kept elsewhere (JTASK_RESULTS_URL)" in done.stderr
