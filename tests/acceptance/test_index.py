"""An index beside real workers, killed and started again; and what is done to many runs by it."""

import json
import signal
import sys
from collections import Counter
from typing import Any

import pytest
from processes import JTASK

from jtask.run_filters import RunFilter
from jtask_index.reader import IndexReader

TASKS = """
import os
from jtask import task

@task(queue="work", redact=["password"])
def pay(tenant: int, password: str = "secret") -> int:
    if tenant % 5 == 0 and not os.path.exists("repaired"):
        raise ValueError(f"no {tenant}")
    mark(f"{tenant}")
    return tenant

@task(queue="unserved")
def later(tenant: int) -> None: ...

@task(queue="plain")
def plain(tenant: int) -> int:
    mark(f"plain {tenant}")
    return tenant
"""

# Goes on with an operation, and dies at a step.
DYING = """
import asyncio, os, sys
from jtask.client import get_client
from jtask_index import bulk, operations
from jtask_index.reader import IndexReader

bulk.CLAIM_SECONDS = operations.CLAIM_SECONDS = 0.5  # the next one need not wait long
step, nth = sys.argv[1], int(sys.argv[2])
index = IndexReader.open()
log = operations.OperationLog
owner = get_client().broker.runs if step == "enqueue" else log
whole, calls = getattr(owner, step), []

def dying(*args):
    if len(calls) == nth:
        os._exit(9)
    calls.append(args)
    return whole(*args)

async def ask(question):
    return await asyncio.to_thread(question, index)

setattr(owner, step, dying)
operation = log(index.engine).find(sys.argv[3])
asyncio.run(bulk.BulkOperations(ask).carry_out(operation, lambda progress: None))
"""


def counts(place: Any) -> dict[str, int]:
    # Here: a process for each look would keep a processor busy until they are right.
    [file] = place.home.glob("index-*.sqlite")
    with IndexReader.open(f"sqlite:///{file}") as index:
        return index.counts(RunFilter())


def call(place: Any, task: str, begin: int, end: int) -> list[str]:
    password = '"secret"' if task == "pay" else ""
    run_ids: list[str] = place.ask(
        f"""
        import tasks
        from jtask import close
        runs = tasks.{task}.delay_many([(n, {password}) for n in range({begin}, {end})])
        for run in runs:
            {"run.wait()" if task != "later" else "pass"}
        close()
        print(json.dumps([run.run_id for run in runs]))
        """
    )
    return run_ids


def test_an_index_that_is_killed_and_one_that_joins_count_each_run_once(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    place.serve("tasks.py:pay")
    first, second = (place.start(JTASK, "index") for _ in range(2))
    first.says("following the event log")
    second.says("following the event log")
    call(place, "pay", 0, 20)
    first.kill()
    call(place, "pay", 20, 40)
    second.kill()
    call(place, "pay", 40, 50)
    third = place.start(JTASK, "index")
    eventually(lambda: counts(place) == {"Completed": 40, "Failed": 10})
    assert third.stop(signal.SIGTERM) == 0
    listed = place.jtask("runs", "ls", "--where", "args.tenant=45", "--json")
    (run,) = json.loads(listed.stdout)
    assert (run["state"], run["error_type"]) == ("Failed", "ValueError")
    assert run["arguments"] == '{"tenant":45,"password":"[redacted]"}'
    assert "from the index" in listed.stderr
    rebuilt = place.jtask("index", "rebuild", "--yes")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert counts(place) == {"Completed": 40, "Failed": 10}


@pytest.mark.timeout(300)
def test_a_rerun_that_is_killed_again_and_again_executes_each_run_once(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    place.write("dying.py", DYING)
    place.serve("tasks.py:pay", "tasks.py:plain")
    index = place.start(JTASK, "index")
    index.says("following the event log")
    call(place, "pay", 0, 200)
    (plain,) = call(place, "plain", 7, 8)
    eventually(lambda: counts(place) == {"Completed": 161, "Failed": 40})
    (place.folder / "repaired").touch()
    said = place.jtask("runs", "rerun", "--state", "failed", "--task", "pay", "--dry-run")
    assert said.stderr.strip() == "40 runs would be rerun"
    operation_id = place.ask(
        """
        import asyncio
        from jtask.run_filters import RunFilter
        from jtask_index import bulk, operations
        from jtask_index.reader import IndexReader
        bulk.CLAIM_SECONDS = 0.0
        index = IndexReader.open()
        async def ask(question):
            return await asyncio.to_thread(question, index)
        begun = bulk.BulkOperations(ask).begin("rerun runs", RunFilter(state=("Failed",)), "Ann")
        print(json.dumps(asyncio.run(begun).operation_id))
        """
    )
    steps = (("close_choice", "0"), ("enqueue", "5"), ("settle", "0"), ("enqueue", "3"))
    for step, nth in (*steps, ("end", "0")):
        dying = place.start(sys.executable, "dying.py", step, nth, operation_id)
        assert dying.wait() == 9, dying.log
    resumed = place.jtask("runs", "resume", operation_id)
    assert (resumed.returncode, resumed.stdout.split()) == (0, ["40", "rerun"]), resumed.stderr
    eventually(lambda: counts(place) == {"Completed": 201, "Failed": 40})
    expected = Counter(str(n) for n in range(200)) + Counter(["plain 7"])
    assert Counter(place.marks()) == expected
    noted = json.loads(place.jtask("runs", "operations", "--json").stdout)
    assert [(one["who"], one["runs"], bool(one["finished"])) for one in noted] == [
        ("Ann", 40, True)
    ]
    # From what is recorded, for it has no dead letter; and not what must not be seen.
    again = place.jtask("runs", "rerun", "--where", "args.tenant=7", "--yes")
    answers = sorted(line.strip() for line in again.stdout.splitlines())
    assert answers == ["1  not rerun: its arguments are not kept whole", "1  rerun"]
    eventually(lambda: place.marks().count("plain 7") == 2)
    assert plain in place.jtask("runs", "ls", "--task", "plain").stdout


def test_runs_that_wait_are_cancelled_by_a_filter(place: Any, eventually: Any) -> None:
    place.write("tasks.py", TASKS)
    index = place.start(JTASK, "index")
    index.says("following the event log")
    call(place, "later", 0, 20)
    eventually(lambda: counts(place) == {"Scheduled": 20})
    refused = place.jtask("runs", "cancel")
    assert (refused.returncode, "specify which runs" in refused.stderr) == (2, True)
    done = place.jtask("runs", "cancel", "--where", "args.tenant>=5", "--yes", "--json")
    assert json.loads(done.stdout)["results"] == {"never starts": 15}, done.stderr
    eventually(lambda: counts(place) == {"Scheduled": 5, "Cancelled": 15})
    again = place.jtask("runs", "cancel", "--where", "args.tenant>=5", "--yes")
    assert again.stderr.strip() == "no such runs"
