"""Replay dead letters while whoever does it is killed."""

import json
import sys
from typing import Any

TASKS = """
import os
from jtask import task

@task(queue="work")
def fragile(n: int) -> int:
    if not os.path.exists("repaired"):
        raise ValueError(f"no {n}")
    mark(f"{n}")
    return n
"""

# Replays a letter, and dies right after a step.
DYING = """
import os, sys
from jtask.client import get_client
from jtask_dead_letters.operations import replay_letter

run_id, name, nth = sys.argv[1], sys.argv[2], int(sys.argv[3])
part, method = name.split(".")
owner = getattr(get_client().broker, part)
whole, calls = getattr(owner, method), []

async def dying(*args, **kwargs):
    answer = await whole(*args, **kwargs)
    calls.append(answer)
    if len(calls) == nth:
        os._exit(9)
    return answer

setattr(owner, method, dying)
replay_letter(run_id)
"""


def test_letters_whose_replay_is_killed_at_every_step_are_executed_once_each(place: Any) -> None:
    place.write("tasks.py", TASKS)
    place.write("dying.py", DYING)
    worker = place.serve("tasks.py")
    run_ids = place.ask(
        """
        import time, tasks
        from jtask_dead_letters.operations import list_letters

        runs = tasks.fragile.delay_many([(n,) for n in range(4)])
        deadline = time.monotonic() + 30
        while len(list_letters()) < 4:
            assert time.monotonic() < deadline
        print(json.dumps([run.run_id for run in runs]))
        """
    )
    (place.folder / "repaired").touch()
    steps = [
        ("records.put", "1"),
        ("runs.enqueue", "1"),
        ("records.put", "2"),
        ("dead_letters.drop", "1"),
    ]
    ends = [
        place.start(sys.executable, "dying.py", run_id, *step).wait()
        for run_id, step in zip(run_ids, steps, strict=True)
    ]
    # The worker that starts the new run may have taken the third step already.
    assert [*ends[:2], ends[3]] == [9, 9, 9]
    assert ends[2] in {0, 9}
    new_ids = []
    for _ in range(2):
        done = place.jtask("dead", "replay", *run_ids, "--json")
        assert done.returncode == 0, done.stderr
        new_ids.append([answer["new_run_id"] for answer in json.loads(done.stdout)])
    assert new_ids[0] == new_ids[1]
    values = place.ask(
        f"""
        from jtask import get_run
        print(json.dumps([get_run(run_id).result(30) for run_id in {new_ids[0]}]))
        """
    )
    assert values == [0, 1, 2, 3]
    assert sorted(place.marks()) == ["0", "1", "2", "3"]
    assert json.loads(place.jtask("dead", "ls", "--json").stdout) == []
    assert worker.stop() == 0


def test_what_lost_its_workers_is_kept_and_can_be_replayed(place: Any) -> None:
    place.write(
        "tasks.py",
        """
        import os, signal
        from jtask import task

        @task
        def poison() -> str:
            if not os.path.exists("repaired"):
                os.kill(os.getpid(), signal.SIGKILL)
            return "cured"
        """,
    )
    first = place.serve("tasks.py", JTASK_LEASE="1", JTASK_MAX_CRASHES="1")
    run_id = place.enqueue("tasks.py:poison")
    first.wait()
    second = place.serve("tasks.py", JTASK_LEASE="1", JTASK_MAX_CRASHES="1")
    assert place.result(run_id)["state"] == "Crashed"
    shown = place.jtask("dead", "show", run_id, "--json")
    letter = json.loads(shown.stdout)
    assert (letter["state"], letter["error"]) == ("Crashed", "jtask.errors.RunCrashed")
    (place.folder / "repaired").touch()
    said = place.jtask("dead", "replay", "--error", "RunCrashed", "--yes", "--json")
    [answer] = json.loads(said.stdout)
    assert place.result(answer["new_run_id"])["result"] == "cured"
    assert second.stop() == 0
