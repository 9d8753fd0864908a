"""Tasks that run by the clock, with real workers and a real server."""

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

BEAT = """
import time
from jtask import runtime, task

@task(every=1)
def beat():
    mark(f"{runtime.run_id} {time.time()}")
"""
LEASE = {"JTASK_LEASE": "1"}


def ls(place: Any) -> list[dict[str, Any]]:
    done = place.jtask("schedules", "ls", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def runs(place: Any) -> list[str]:
    return [line.split()[0] for line in place.marks()]


def instants(place: Any) -> list[int]:
    """When the runs were due, in milliseconds: their ids say so."""
    return [int(run[:8] + run[9:13], 16) for run in runs(place)]


def test_a_schedule_of_two_workers_runs_once_each_second_and_survives_one(
    place: Any, eventually: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("tasks.py", BEAT)
    victim, survivor = (place.serve("tasks.py", **LEASE) for _ in range(2))
    eventually(lambda: len(place.marks()) >= 3)
    victim.kill()
    seen = runs(place)
    eventually(lambda: len(place.marks()) >= len(seen) + 3)
    assert survivor.stop() == 0
    counted = Counter(runs(place))
    # The victim may have died before the end of the run that it had begun last was stored.
    assert {run for run, times in counted.items() if times > 1} <= {seen[-1]}
    assert max(counted.values()) <= 2
    due = list(dict.fromkeys(instants(place)))
    assert len(due) == len(counted)
    assert all(later > sooner for sooner, later in pairwise(due))
    assert len({instant % 1000 for instant in due}) == 1
    with capsys.disabled():
        began = [float(line.split()[1]) * 1e3 for line in place.marks()]
        late = [one - at for one, at in zip(began, instants(place), strict=True)]
        print(f"\n  every=1 over two workers: at most {max(late):.0f} ms late")


def test_a_worker_killed_between_the_next_run_and_the_end_of_this_one_breaks_nothing(
    place: Any, eventually: Any
) -> None:
    place.write(
        "tasks.py",
        """
        import os, signal, time
        from jtask import runtime, task

        @task(every=1)
        def deadly():
            first = not os.path.exists("died")
            mark(f"{runtime.run_id} {time.time()}")
            if first:
                open("died", "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    victim = place.serve("tasks.py", **LEASE)
    eventually(place.marks)
    victim.wait()
    heir = place.serve("tasks.py", **LEASE)
    eventually(lambda: len(set(runs(place))) >= 4)
    assert heir.stop() == 0
    counted = Counter(runs(place))
    assert counted.pop(runs(place)[0]) == 2  # the run that was interrupted starts again
    assert set(counted.values()) == {1}


def test_a_schedule_is_paused_resumed_run_and_removed_by_commands(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", BEAT.replace("every=1", 'cron="0 0 1 1 *", timezone="Europe/Berlin"'))
    worker = place.serve("tasks.py")
    shown = eventually(lambda: [one for one in ls(place) if one["pending"]])[0]
    said = (shown["name"], shown["cron"], shown["timezone"], len(shown["next"]))
    assert said == ("beat", "0 0 1 1 *", "Europe/Berlin", 3)
    assert place.jtask("schedules", "pause", "beat").stderr == "beat is paused\n"
    assert "did you mean 'beat'?" in place.jtask("schedules", "pause", "baet").stderr
    table = place.jtask("schedules", "ls").stdout
    assert ("beat" in table, "paused" in table) == (True, True)
    assert place.jtask("schedules", "resume", shown["task"]).returncode == 0
    run_id = place.jtask("schedules", "run", "beat").stdout.strip()
    assert place.result(run_id)["task"] == shown["task"]
    refused = place.jtask("schedules", "rm", "beat")
    assert (refused.returncode, "would create it again" in refused.stderr) == (2, True)
    assert worker.stop() == 0
    assert place.jtask("schedules", "rm", "beat", "--force").returncode == 0
    gone = place.jtask("schedules", "pause", "beat")
    assert (gone.returncode, "no schedule 'beat'" in gone.stderr) == (2, True)


def test_a_changed_declaration_changes_the_schedule(place: Any, eventually: Any) -> None:
    place.write("tasks.py", BEAT.replace("every=1", 'cron="0 0 1 1 *"'))
    before = place.serve("tasks.py")
    eventually(lambda: ls(place))
    place.write("tasks.py", BEAT)
    after = place.serve("tasks.py")
    eventually(lambda: len(place.marks()) >= 2)
    [shown] = ls(place)
    assert (shown["cron"], shown["every"]) == (None, 1.0)
    assert before.stop() == after.stop() == 0


def test_a_run_missed_while_no_worker_lived_is_made_up_for_once(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", BEAT)
    first = place.serve("tasks.py")
    eventually(place.marks)
    assert first.stop() == 0
    missed = instants(place)[-1] + 1000
    place.ask(f"import time; time.sleep(max(0, {missed / 1000 + 2.5} - time.time())); print(1)")
    count = len(place.marks())
    second = place.serve("tasks.py")
    eventually(lambda: len(place.marks()) >= count + 2)
    assert second.stop() == 0
    made_up, following, *_ = instants(place)[count:]
    assert made_up == missed
    assert following >= missed + 3000


def test_a_run_expires_although_nobody_served_it(place: Any) -> None:
    place.write("tasks.py", BEAT)
    state, error = place.ask(
        """
        import subprocess, sys, time
        from datetime import UTC, datetime
        import tasks
        from jtask.errors import RunExpired

        expires = time.time() + 0.2
        run = tasks.beat.apply_async(expires=datetime.fromtimestamp(expires, UTC))
        while time.time() <= expires:
            time.sleep(0.01)
        worker = subprocess.Popen([sys.executable, "-m", "jtask.cli", "serve", "tasks.py"])
        try:
            run.result(timeout=30)
        except RunExpired as expired:
            print(json.dumps([run.state.name, str(expired)]))
        finally:
            worker.terminate()
            worker.wait()
        """
    )
    assert (state, "before it expired" in error) == ("Expired", True)
