"""Each example runs as its docstring says, as processes of its own."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import output_of

EXAMPLES = Path(__file__).parents[2] / "examples"
JTASK = (sys.executable, "-m", "jtask.cli")
PATIENCE = 40.0  # seconds

Start = Callable[..., subprocess.Popen[str]]


def run(example: str, *command: str) -> str:
    """Run a program of an example to its end and return what it printed."""
    return output_of(*command, folder=EXAMPLES / example)


@pytest.fixture
def start(jtask_nats: str) -> Iterator[Start]:
    """Start a program of an example, on a server of the test's own; ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start_program(example: str, *command: str, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(command, cwd=EXAMPLES / example, text=True, **options)
        started.append(process)
        return process

    yield start_program
    for process in started:
        process.send_signal(signal.SIGTERM)
    for process in started:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()
        process.wait()


def test_tasks_can_be_called_like_the_functions_they_are() -> None:
    assert run("foreground_call", sys.executable, "app.py") == (
        "3\nHello, Ada! (attempt 1 of a run of 'greeting')\n"
    )


def test_a_worker_executes_what_a_scheduler_stored_and_when(start: Start) -> None:
    start("worker_and_scheduler", sys.executable, "worker.py", stdout=subprocess.DEVNULL)
    now, soon, later = run("worker_and_scheduler", sys.executable, "scheduler.py").splitlines()
    assert now.endswith("Ada: the run that starts at once")
    assert soon.endswith("Ada: a second later")
    assert " is Scheduled for " in later


def test_two_workers_share_three_runs(start: Start) -> None:
    for _ in range(2):
        start(
            "three_runs_two_workers",
            *JTASK,
            "serve",
            "tasks.py",
            "--concurrency=1",
            "--prefetch=0",
        )
    await_workers(2)
    lines = run("three_runs_two_workers", sys.executable, "caller.py").splitlines()
    assert [line.partition(",")[0] for line in lines] == ["tea", "coffee", "cocoa"]
    assert len({line.partition(" by ")[2] for line in lines}) == 2


def test_a_web_service_defers_its_work_and_tells_how_it_ended(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        port = listener.getsockname()[1]
        start(
            "fastapi_app",
            *(sys.executable, "-m", "uvicorn", "app:app", f"--fd={listener.fileno()}"),
            pass_fds=(listener.fileno(),),
        )
        start("fastapi_app", *JTASK, "serve", "tasks.py")
        base = f"http://127.0.0.1:{port}/reports"
        status, created = ask(f"{base}?customer=Ada", method="POST")
        assert status == 202
        assert await_end(f"{base}/{created['id']}") == {
            "id": created["id"],
            "state": "Completed",
            "result": {"customer": "Ada", "pages": 3},
        }
        _, refused = ask(f"{base}?customer=Ada&pages=0", method="POST")
        failed = await_end(f"{base}/{refused['id']}")
        assert failed["state"] == "Failed"
        assert "a report has at least one page" in failed["error"]
        assert ask(f"{base}/nonsense")[0] == 404
        stories = f"http://127.0.0.1:{port}/stories"
        _, story = ask(f"{stories}?words=3", method="POST")
        assert events_of(f"{stories}/{story['id']}") == [
            'id: 0\ndata: "word 1"',
            'id: 1\ndata: "word 2"',
            'id: 2\ndata: "word 3"',
            "event: done\ndata:",
        ]
        assert events_of(f"{stories}/{story['id']}", {"Last-Event-ID": "1"}) == [
            'id: 2\ndata: "word 3"',
            "event: done\ndata:",
        ]
        assert ask(f"{stories}/nonsense")[0] == 404


def test_an_order_is_handled_by_the_two_workers_of_the_compose_file(start: Start) -> None:
    composed = (EXAMPLES / "jaeger" / "docker-compose.yml").read_text()
    commands = [json.loads(found) for found in re.findall(r"command: (\[.jtask.*\])", composed)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        port = listener.getsockname()[1]
        start(
            "jaeger",
            *(sys.executable, "-m", "uvicorn", "app:app", f"--fd={listener.fileno()}"),
            pass_fds=(listener.fileno(),),
        )
        for command in commands:
            start("jaeger", *JTASK, *command[1:])
        assert len(commands) == 2
        base = f"http://127.0.0.1:{port}/orders"
        status, created = ask(f"{base}?order=A7", "POST", ["tea", "milk"])
        assert status == 202
        assert await_end(f"{base}/{created['id']}")["result"] == {
            "label": "label of A7",
            "parcels": ["tea of A7", "milk of A7"],
        }


def events_of(url: str, headers: dict[str, str] | None = None) -> list[str]:
    request = urllib.request.Request(url, headers=headers or {})
    with urllib.request.urlopen(request, timeout=40) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return str(answer.read().decode()).strip("\n").split("\n\n")


def ask(url: str, method: str = "GET", body: Any = None) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    kind = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, kind, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def await_end(url: str) -> dict[str, Any]:
    for _ in attempts():
        _, answer = ask(url)
        if {"result", "error"} & set(answer):
            return answer
    raise AssertionError(f"no end: {answer}")


def await_workers(count: int) -> None:
    from jtask.client import get_client

    client = get_client()
    for _ in attempts():
        if len(client.io.run(client.broker.heartbeats.living())) >= count:
            return
    raise AssertionError(f"there are no {count} workers")


def attempts() -> Generator[None]:
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        yield
        time.sleep(0.05)
