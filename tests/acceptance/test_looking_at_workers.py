"""What the program tells about workers and the queues that they serve."""

import json
import subprocess
from typing import Any

import pytest

TASKS = """
import time
from jtask import task

@task(key="slow-one", name="slow")
def slow(n: int) -> int:
    mark("began")
    while not os.path.exists("go"):
        time.sleep(0.01)
    return n

@task(key="lonely")
def lonely(n: int) -> int:
    return n
"""


def test_workers_and_what_they_execute_are_listed_and_queues_nobody_serves(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    assert place.jtask("workers", "ls").stderr == "no workers\n"
    run_id = place.enqueue("tasks.py:slow", "1")
    place.enqueue("tasks.py:lonely", "1")
    worker = place.serve("tasks.py:slow", "--concurrency=2")
    eventually(lambda: place.marks() == ["began"])

    def listed() -> Any:
        return json.loads(place.jtask("workers", "ls", "--json").stdout)

    # It tells about itself now and then only.
    [told] = eventually(lambda: [one for one in listed() if one["runs"]])
    assert (told["queues"], told["tasks"], told["concurrency"]) == (["slow-one"], ["slow"], 2)
    [run] = told["runs"]
    assert (told["executing"], run["run_id"], run["attempt"]) == (1, run_id, 1)
    assert (run["task"], run["name"]) == ("slow-one", "slow")
    table = place.jtask("workers", "ls").stdout
    assert "1 of 2" in table
    assert f"{run_id}  slow" in table
    queues = json.loads(place.jtask("queues", "ls", "--json").stdout)
    assert {one["name"]: one["served"] for one in queues} == {"slow-one": True, "lonely": False}
    assert place.jtask("queues", "ls").stdout.count("no worker serves it") == 1
    (place.folder / "go").touch()
    assert worker.stop() == 0


def test_who_takes_a_run_over_says_from_whom(place: Any, eventually: Any) -> None:
    place.write("tasks.py", TASKS)
    place.env["JTASK_LEASE"] = "1"
    run_id = place.enqueue("tasks.py:slow", "1")
    lost = place.serve("tasks.py:slow")

    def told() -> list[str]:
        listed = json.loads(place.jtask("workers", "ls", "--json").stdout)
        return [one["name"] for one in listed if one["runs"]]

    [name] = eventually(told)
    lost.kill()
    heir = place.serve("tasks.py:slow")
    heir.says(f"slow {run_id} is taken over from {name}: a worker was lost while it executed")
    (place.folder / "go").touch()
    assert heir.stop() == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script_that_asks_the_program(place: Any, shell: str) -> None:
    done = place.jtask("completion", shell)
    assert done.returncode == 0
    assert f"_JTASK_COMPLETE={shell}_complete" in done.stdout
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=done.stdout, text=True).returncode == 0
