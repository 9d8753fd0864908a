"""The console for programs."""

import re
from typing import Any

import pytest
from in_process import StartWorker
from served_console import ServedConsole, StartConsole
from waiting import PATIENCE, eventually

from jtask import task


@task(queue="sums", tags=["maths"])
def add(a: int, b: int = 1) -> int:
    return a + b


@task(queue="sums")
def divide(a: int) -> float:
    return a / 0


def test_runs_are_found_by_the_same_filters_as_on_the_page(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(add, divide)
    right, wrong = add.delay(7), divide.delay(7)
    right.result(PATIENCE)
    wrong.wait(PATIENCE)

    def ids(query: str) -> list[str]:
        runs = console.client.get(f"/api/runs?{query}").json()["runs"]
        return [run["run_id"] for run in runs]

    # The end of the one says nothing of the other's.
    eventually(lambda: ids("state=Failed") == [wrong.run_id])
    eventually(lambda: ids("state=Completed") == [right.run_id])
    assert ids("where=args.b%3D1") == []
    assert ids("tag=maths") == [right.run_id]
    page = console.client.get("/api/runs?limit=1").json()
    assert page["after"] == page["runs"][0]["run_id"]
    assert console.client.get("/api/counts").json()["states"]["Failed"] == 1
    assert console.client.get("/api/failures").json()["failures"][0]["runs"] == 1
    assert (
        sum(
            sum(bucket["runs"].values())
            for bucket in console.client.get("/api/timeline").json()["buckets"]
        )
        == 2
    )


def ended(console: ServedConsole, run_id: str) -> dict[str, Any]:
    """The run as the console shows it once it knows the end; until it knows the run it says 404."""

    def found() -> dict[str, Any] | None:
        answer = console.client.get(f"/api/runs/{run_id}")
        run = answer.json() if answer.is_success else {}
        return run if run.get("ended") else None

    return eventually(found)


def test_one_run_has_its_states_and_its_end(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    jtask_worker(add, divide)
    right, wrong = add.delay(7), divide.delay(7)
    right.result(PATIENCE)
    wrong.wait(PATIENCE)
    found, failed = ended(console, right.run_id), ended(console, wrong.run_id)
    assert found["result"] == "8"
    assert [one["state"] for one in found["states"]][-1] == "Completed"
    assert failed["error"]["type"] == "builtins.ZeroDivisionError"


def test_actions_are_done_and_tell_how_far_they_are(
    console: ServedConsole, jtask_worker: StartWorker
) -> None:
    assert console.client.post("/api/queues/sums/pause").json()["over"] is True
    runs = [add.delay(n) for n in range(20)]
    eventually(lambda: len(console.client.get("/api/runs?task=add").json()["runs"]) == 20)
    [queue] = console.client.get("/api/queues").json()["queues"]
    assert (queue["name"], queue["waiting"], queue["paused"]) == ("sums", 20, True)
    begun = console.client.post("/api/runs/cancel", json={"filter": "task=add"}).json()
    where = f"/api/operations/{begun['operation_id']}"
    eventually(lambda: console.client.get(where).json()["over"])
    assert console.client.get(where).json()["done"] == 20
    assert all(run.state.is_cancelled() for run in runs)


def test_a_problem_is_a_sentence(console: ServedConsole) -> None:
    for path, status in (
        ("/api/runs?state=Faild", 400),
        ("/api/runs?limit=0", 400),
        ("/api/runs/nonsense", 404),
        ("/api/nothing", 404),
    ):
        answer = console.client.get(path)
        assert answer.status_code == status, path
        assert answer.json()["error"]
    assert console.client.post("/api/runs/cancel", content=b"{").status_code == 400
    for given in ({}, {"runs": ["a"], "arguments": "{"}, {"runs": ["a", "b"], "arguments": {}}):
        answer = console.client.post("/api/runs/rerun", json=given)
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True), given
    hidden = {"runs": ["a"], "arguments": {"card": "[redacted]"}}
    refused = console.client.post("/api/runs/rerun", json=hidden).json()
    assert refused["error"].startswith("replace [redacted] in the arguments")


def test_who_may_only_look_cannot_act(start_console: StartConsole) -> None:
    console = start_console(console_view_token="look-only-please")
    headers = {"Authorization": "Bearer look-only-please"}
    assert console.client.get("/api/queues", headers=headers).status_code == 200
    assert console.client.get("/api/queues").status_code == 401
    assert console.client.post("/api/queues/q/pause", headers=headers).status_code == 403


def test_the_description_names_everything_that_can_be_asked(console: ServedConsole) -> None:
    found = console.client.get("/api/openapi.json").json()
    assert found["openapi"].startswith("3.1")
    for path, methods in found["paths"].items():
        names = {one["name"] for one in methods[next(iter(methods))]["parameters"]}
        assert set(re.findall(r"{(\w+)}", path)) <= names
        if "get" in methods and "{" not in path:
            assert console.client.get(f"/api{path}").status_code == 200, path


@pytest.mark.parametrize("path", ["/api/workers", "/api/schedules", "/api/limits"])
def test_what_is_empty_is_an_empty_list(path: str, console: ServedConsole) -> None:
    assert list(console.client.get(path).json().values()) == [[]]
