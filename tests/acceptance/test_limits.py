"""The program makes, changes, shows and removes limits."""

import json
import sys
from typing import Any

TASKS = """
import os, time
from jtask import task

@task(tags=["web"])
def fetch(n: int) -> int:
    mark(f"{n}")
    while not os.path.exists("go-on"):
        time.sleep(0.01)
    return n
"""


def test_a_limit_is_made_changed_shown_and_removed_by_commands(place: Any, eventually: Any) -> None:
    place.write("tasks.py", TASKS)
    assert place.jtask("limits", "ls").stderr == "no limits\n"
    assert place.jtask("limits", "create", "tag:web", "1").returncode == 0
    again = place.jtask("limits", "create", "tag:web", "2")
    assert again.returncode == 1
    assert again.stderr == "there is a limit 'tag:web' already: use `jtask limits update`\n"
    assert place.jtask("limits", "create", "api", "100", "--per", "minute").returncode == 0
    run_ids = [place.enqueue("tasks.py:fetch", str(n)) for n in range(4)]
    worker = place.serve("tasks.py")
    eventually(lambda: len(place.marks()) == 1)

    def listed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(place.jtask("limits", "ls", "--json").stdout)
        return found

    rate, tag = listed()
    assert rate == {"name": "api", "slots": 100, "taken": 0, "per": 60.0, "burst": None}
    assert tag == {"name": "tag:web", "slots": 1, "taken": 1, "per": None, "burst": None}
    assert "100 per minute" in place.jtask("limits", "ls").stdout
    (holder,) = json.loads(place.jtask("limits", "holders", "tag:web", "--json").stdout)
    assert holder["holder"] == run_ids[int(place.marks()[0])]

    assert place.jtask("limits", "update", "tag:web", "2").returncode == 0
    eventually(lambda: len(place.marks()) == 2)
    assert place.jtask("limits", "rm", "tag:web").returncode != 0  # nobody says yes
    assert place.jtask("limits", "rm", "tag:web", "--yes").returncode == 0
    eventually(lambda: sorted(place.marks()) == ["0", "1", "2", "3"])
    (place.folder / "go-on").touch()
    assert [place.result(run_id)["result"] for run_id in run_ids] == [0, 1, 2, 3]
    assert worker.stop() == 0


def test_the_slot_of_a_block_whose_process_is_killed_goes_to_the_next_one(
    place: Any, eventually: Any
) -> None:
    block = """
        import os, time
        from jtask_limits import concurrency

        with concurrency("db"):
            mark(os.getpid())
            while not os.path.exists("go-on"):
                time.sleep(0.01)
        """
    place.write("block.py", block)
    place.env["JTASK_LEASE"] = "1"
    assert place.jtask("limits", "create", "db", "1").returncode == 0
    victim = place.start(sys.executable, "block.py")
    eventually(lambda: place.marks() == [str(victim.pid)])
    heir = place.start(sys.executable, "block.py")
    victim.kill()
    eventually(lambda: place.marks() == [str(victim.pid), str(heir.pid)])
    (place.folder / "go-on").touch()
    assert heir.wait() == 0, heir.log
    assert place.jtask("limits", "holders", "db").stderr == "nobody holds a slot of 'db'\n"


def test_a_call_that_would_wait_for_its_callers_is_refused_in_a_child_process_too(
    place: Any,
) -> None:
    place.write(
        "tasks.py",
        """
        from jtask import task

        @task(limit=1, isolation="process")
        def count_down(number: int) -> int:
            return count_down(number - 1) if number else 0
        """,
    )
    worker = place.serve("tasks.py")
    refused = place.result(place.enqueue("tasks.py:count_down", "1"))
    assert refused["state"] == "Cancelled"
    assert "hold all of it" in json.dumps(refused)
    assert place.result(place.enqueue("tasks.py:count_down", "0"))["state"] == "Completed"
    assert worker.stop() == 0


def test_wrong_limits_are_refused_in_one_sentence(place: Any) -> None:
    for arguments, said in {
        ("update", "nothing", "2"): "there is no limit 'nothing': use `jtask limits create`",
        ("rm", "nothing", "--yes"): "there is no limit 'nothing'",
        ("create", "db", "many"): "is not a valid integer",
        ("create", "db", "5", "--burst", "2"): "--burst is for rates: give --per too",
        ("create", "tag:web", "5", "--per", "minute"): "'tag:web' cannot be a rate",
        ("create", "db", "0", "--per", "hour"): "a rate of 0 lets nothing begin",
        ("create", "a\nb", "5"): "NAME must be a text of 1 to 100 printable characters",
        ("holders", "nothing"): "nobody holds a slot of 'nothing'; `jtask limits ls` has no limit",
        ("create", "db", "-5"): "No such option '-5': put -- before values that begin with a minus",
        ("rm", "db"): "Remove the limit 'db'? Cannot ask for confirmation here: add --yes",
    }.items():
        assert said in place.jtask("limits", *arguments).stderr, arguments
