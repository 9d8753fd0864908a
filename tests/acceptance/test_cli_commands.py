"""The program's commands against a real broker: what they print and where."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

TASKS = """
from dataclasses import dataclass
from pathlib import Path
from jtask import task

@dataclass
class Size:
    width: int

@task
def describe(path: Path, size: Size, *, note: str = "", count: int = 1) -> dict[str, str]:
    return {"path": f"{type(path).__name__} {path}", "size": repr(size), "note": note}

@task
def echo(text: str) -> str:
    return text

@task
def total(*numbers: int) -> int:
    return sum(numbers)

@task
def boom(what: str) -> None:
    raise ValueError(f"no {what}")

@task
async def nap() -> None:
    import asyncio
    mark("naps")
    await asyncio.sleep(60)

@task
def steps() -> None:
    import time
    from jtask import runtime
    runtime.progress(1, 2, "half of it")
    while not Path("go").exists():
        time.sleep(0.01)
    runtime.progress(2, 2)
"""


@pytest.fixture
def tasks(place: Any) -> Any:
    place.write("tasks.py", TASKS)
    place.worker = place.serve("tasks.py")
    return place


def test_enqueue_prints_the_id_alone_and_result_the_value(tasks: Any) -> None:
    enqueued = tasks.jtask("enqueue", "tasks.py:echo", "hello")
    assert (enqueued.returncode, enqueued.stderr) == (0, "")
    done = tasks.jtask("result", enqueued.stdout.strip())
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_enqueue_reads_values_as_the_annotations_have_them(tasks: Any) -> None:
    done = tasks.jtask(
        "enqueue", "tasks:describe", "a/b", '{"width": 3}', "note=5", "count=2", "--wait"
    )
    assert json.loads(done.stdout) == {
        "path": "PosixPath a/b",
        "size": "Size(width=3)",
        "note": "5",
    }
    assert tasks.jtask("enqueue", "tasks:total", "1", "2", "3", "--wait").stdout == "6\n"


def test_enqueue_sends_by_key_without_the_code(tasks: Any) -> None:
    key = tasks.ask("import tasks; print(json.dumps(tasks.echo.key))")
    tasks.worker.is_ready()
    (tasks.folder / "tasks.py").unlink()
    done = tasks.jtask("enqueue", key, "text=from afar", "--wait", "--json")
    assert json.loads(done.stdout)["result"] == "from afar"


def test_enqueue_can_delay_a_run_and_choose_its_queue(tasks: Any) -> None:
    tasks.worker.is_ready()
    done = tasks.jtask("enqueue", "tasks:echo", "later", "--delay", "1s", "--json")
    run_id = json.loads(done.stdout)["run_id"]
    report = tasks.result(run_id)
    assert report["state"] == "Completed"
    shown = json.loads(tasks.jtask("runs", "show", run_id, "--json").stdout)
    assert shown["started"] - shown["created"] >= 1
    done = tasks.jtask("enqueue", "tasks:echo", "elsewhere", "--queue", "nobody", "--json")
    assert json.loads(done.stdout)["queue"] == "nobody"


def test_result_tells_a_failure_on_stderr_with_the_remote_traceback(tasks: Any) -> None:
    run_id = tasks.enqueue("tasks:boom", "luck")
    done = tasks.jtask("result", run_id)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"Error: run {run_id} Failed: ValueError: no luck\n")
    assert 'tasks.py", line' in done.stderr
    done = tasks.jtask("result", run_id, "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["message"]) == (1, "no luck")


def test_result_tells_why_a_run_was_cancelled_and_not_where(tasks: Any, eventually: Any) -> None:
    run_id = tasks.enqueue("tasks:nap")
    eventually(lambda: tasks.marks() == ["naps"])
    assert "interrupted" in tasks.jtask("cancel", run_id).stdout
    done = tasks.jtask("result", run_id)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: run {run_id} Cancelled: cancelled by `jtask cancel`\n"


def test_result_gives_up_after_its_timeout_with_124(tasks: Any) -> None:
    run_id = tasks.enqueue("tasks:echo", "x", "--queue", "nobody")
    done = tasks.jtask("result", run_id, "--timeout", "100ms")
    assert (done.returncode, done.stdout) == (124, "")
    assert done.stderr == f"Error: run {run_id} did not end within 0.1 seconds\n"


def test_ctrl_c_ends_a_wait_with_130(place: Any) -> None:
    place.write("tasks.py", TASKS)
    waiting = place.start(sys.executable, "-m", "jtask.cli", "enqueue", "tasks:echo", "x", "--wait")
    waiting.says("is on queue")
    assert waiting.stop(signal.SIGINT) == 130
    assert "Traceback" not in waiting.log


def test_runs_ls_lists_the_newest_first_and_filters(tasks: Any) -> None:
    good = [tasks.enqueue("tasks:echo", text) for text in "ab"]
    bad = tasks.enqueue("tasks:boom", "luck")
    for run_id in (*good, bad):
        tasks.result(run_id)

    def listed(*options: str) -> list[str]:
        found = json.loads(tasks.jtask("runs", "ls", "--json", *options).stdout)
        return [run["run_id"] for run in found]

    assert listed() == [bad, *reversed(good)]
    assert listed("--limit", "1") == [bad]
    assert listed("--state", "completed") == [*reversed(good)]
    assert listed("--task", "boom") == [bad]
    assert listed("--since", "0s") == []
    lines = tasks.jtask("runs", "ls").stdout.splitlines()
    assert lines[0].split() == ["RUN", "TASK", "STATE", "ATTEMPT", "CREATED", "TOOK"]
    assert lines[1].split()[:4] == [bad, "boom", "Failed", "1"]


def test_runs_show_tells_the_states_the_error_and_the_result(tasks: Any) -> None:
    good, bad = tasks.enqueue("tasks:echo", "hi"), tasks.enqueue("tasks:boom", "luck")
    tasks.result(good)
    tasks.result(bad)
    shown = json.loads(tasks.jtask("runs", "show", good, "--json").stdout)
    assert shown["name"] == "echo"
    assert shown["result"] == '"hi"'
    states = [state["state"] for state in shown["states"]]
    assert states[:4] == ["Scheduled", "Pending", "Running", "Completed"]
    text = tasks.jtask("runs", "show", bad).stdout
    assert "Failed" in text
    assert 'tasks.py", line' in text
    assert "ValueError: no luck" in text


def test_runs_show_follows_states_and_progress_to_the_end(tasks: Any) -> None:
    run_id = tasks.enqueue("tasks:steps")
    following = tasks.start(sys.executable, "-m", "jtask.cli", "runs", "show", "-f", run_id)
    following.says("50%  1/2 half of it")
    tasks.write("go", "")
    assert following.wait() == 0
    assert following.log.index("half of it") < following.log.index("Completed")
    # Behind what was followed comes the report.
    assert f"run_id    {run_id}" in following.log
    shown = json.loads(tasks.jtask("runs", "show", run_id, "--json").stdout)
    assert shown["progress"]["done"] == 2


def test_the_worker_writes_one_line_for_each_run(tasks: Any) -> None:
    good, bad = tasks.enqueue("tasks:echo", "hi"), tasks.enqueue("tasks:boom", "luck")
    tasks.worker.says(f"INFO echo {good} Completed in")
    tasks.worker.says(f"ERROR boom {bad} Failed in")
    tasks.worker.says("ValueError: no luck\n")
    assert tasks.worker.log.count(good) == 1


def test_log_level_error_leaves_completed_runs_out(place: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "--log-level", "error")
    assert place.result(place.enqueue("tasks:echo", "hi"))["result"] == "hi"
    bad = place.enqueue("tasks:boom", "luck")
    worker.says(bad)
    assert worker.stop() == 0
    assert "Completed" not in worker.log
    assert "is stopping" not in worker.log


def test_server_stop_ends_what_the_first_command_started(place: Any) -> None:
    place.write("tasks.py", TASKS)
    place.enqueue("tasks:echo", "hi")
    assert json.loads(place.jtask("server", "status", "--json").stdout)["running"]
    assert place.jtask("server", "stop").returncode == 0
    assert place.jtask("server", "status").returncode == 1


@pytest.mark.parametrize("module", ["jtask", "jtask.cli"])
def test_the_program_is_a_module_too(module: str) -> None:
    command = [sys.executable, "-m", module, "serve"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Usage: jtask serve [OPTIONS] TARGET..." in ended.stderr
