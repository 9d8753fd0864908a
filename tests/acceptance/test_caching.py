"""Values are computed once although workers die, and the program shows and removes them."""

import json
from typing import Any

TASKS = """
import os, signal, time
from jtask import runtime, task
from jtask.cache_policies import INPUTS

@task(cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE"))
def train(model: str) -> str:
    mark(f"begun {os.getpid()}")
    while not os.path.exists("go-on"):
        time.sleep(0.01)
    return f"{model} is trained"

@task(cache_policy=INPUTS, cache_expiration=3600)
def price(item: str) -> int:
    return len(item)

@task(result_storage_key="stock-{parameters[item]}")
def stock(item: str) -> int:
    return 7
"""


def test_when_the_worker_that_computes_a_value_is_killed_another_computes_it(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    run_ids = [place.enqueue("tasks.py:train", "small") for _ in range(5)]
    victim = place.serve("tasks.py", JTASK_LEASE="1")
    eventually(lambda: len(place.marks()) == 1)
    heir = place.serve("tasks.py", JTASK_LEASE="1")
    heir.is_ready()
    victim.kill()
    eventually(lambda: len(place.marks()) == 2)
    (place.folder / "go-on").touch()
    ends = [place.result(run_id) for run_id in run_ids]
    assert {end["result"] for end in ends} == {"small is trained"}
    assert sorted(end["state"] for end in ends) == ["Cached"] * 4 + ["Completed"]
    assert place.marks() == [f"begun {victim.pid}", f"begun {heir.pid}"]
    assert heir.stop() == 0


def test_a_call_inside_of_the_run_with_its_key_does_not_wait_for_that_in_a_child_process_either(
    place: Any,
) -> None:
    place.write(
        "tasks.py",
        """
        from jtask import task
        from jtask.cache_policies import INPUTS

        SERIALIZABLE = INPUTS.configure(isolation_level="SERIALIZABLE")

        @task(cache_policy=SERIALIZABLE)
        def inner(number: int) -> int:
            return 2 * number

        @task(cache_policy=SERIALIZABLE, isolation="process")
        def outer(number: int) -> int:
            return inner(number)
        """,
    )
    worker = place.serve("tasks.py")
    for state in ("Completed", "Cached"):
        end = place.result(place.enqueue("tasks.py:outer", "4"))
        assert (end["result"], end["state"]) == (8, state)
    assert worker.stop() == 0


def test_the_program_shows_what_is_kept_and_removes_it(place: Any) -> None:
    place.write("tasks.py", TASKS)
    assert place.jtask("cache", "ls").stderr == "the cache is empty\n"
    worker = place.serve("tasks.py")
    for name, item in (("price", "tea"), ("price", "milk"), ("stock", "tea")):
        assert place.result(place.enqueue(f"tasks.py:{name}", item))["state"] == "Completed"
    listed = json.loads(place.jtask("cache", "ls", "--json").stdout)
    assert [entry["task"] for entry in listed] == ["price", "price", "stock"]
    assert listed[0]["expires"] - listed[0]["at"] == 3600
    assert (listed[2]["key"], listed[2]["expires"]) == ("stock-tea", None)
    table = place.jtask("cache", "ls", "--task", "stock").stdout
    assert "stock-tea" in table
    assert "price" not in table

    gone = place.jtask("cache", "rm", "stock-tea", "stock-milk")
    assert gone.returncode == 1
    assert gone.stderr == "1 forgotten\nnothing is kept under 'stock-milk'\n"
    assert place.jtask("cache", "rm").returncode == 2
    assert place.jtask("cache", "rm", "--task", "price").returncode != 0  # nobody says yes
    both = json.loads(place.jtask("cache", "rm", "--task", "price", "--yes", "--json").stdout)
    assert both == [entry["key"] for entry in listed[:2]]
    assert place.jtask("cache", "ls").stderr == "the cache is empty\n"
    assert place.result(place.enqueue("tasks.py:stock", "tea"))["state"] == "Completed"
    assert worker.stop() == 0
