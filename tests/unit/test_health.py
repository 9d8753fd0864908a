"""What the health plugin answers, says and decides."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import click
import pytest
from free_ports import free_ports

import jtask_health
from jtask import task
from jtask.settings import get_settings
from jtask_health.http import respond
from jtask_health.monitor import _port_of
from jtask_health.tracker import Change, Notice, ProblemTracker

PATIENCE = 20.0  # seconds


class Patient:
    """A condition that is what a test wants it to be."""

    def __init__(self, problem: str | None = None) -> None:
        self._problem = problem

    def problem(self) -> str | None:
        return self._problem

    def report(self) -> dict[str, Any]:
        return {"problem": self._problem}


@pytest.mark.parametrize(
    ("path", "problem", "status", "body"),
    [
        ("/livez", None, 200, "ok\n"),
        ("/livez", "ill", 200, "ok\n"),
        ("/readyz", None, 200, "ok\n"),
        ("/readyz?verbose", None, 200, "ok\n"),
        ("/readyz", "ill", 503, "ill\n"),
        ("/status", "ill", 200, '{"problem": "ill"}\n'),
        ("/", None, 404, "there is only /livez, /readyz, /status\n"),
    ],
)
def test_each_path_has_its_answer(path: str, problem: str | None, status: int, body: str) -> None:
    found = respond(path, Patient(problem))  # type: ignore[arg-type]
    assert (found.status, found.body) == (status, body)


def test_a_problem_is_told_once_and_its_end_with_its_length() -> None:
    tracker = ProblemTracker(None)
    said = [
        tracker.update(problem, at) for at, problem in enumerate([None, "a", "a", "b", None, None])
    ]
    assert said == [
        None,
        Notice(Change.UNHEALTHY, "a", 0),
        None,
        Notice(Change.UNHEALTHY, "b", 2),
        Notice(Change.RECOVERED, "b", 3),
        None,
    ]


def test_a_worker_is_given_up_once_when_its_problems_last_too_long() -> None:
    tracker = ProblemTracker(give_up_after=2)
    said = [tracker.update(problem, at) for at, problem in enumerate(["a", "b", "b", "b"])]
    assert said[2:] == [Notice(Change.EXPIRED, "b", 2), None]


def test_each_problem_has_the_whole_time_after_a_well_moment() -> None:
    tracker = ProblemTracker(give_up_after=2)
    looks = ["a", "a", None, "a", "a"]
    said = [tracker.update(problem, at) for at, problem in enumerate(looks)]
    assert Change.EXPIRED not in {notice.change for notice in said if notice}


@pytest.mark.parametrize(
    ("first", "place", "port"), [(None, 3, None), (0, 3, 0), (8080, 0, 8080), (8080, 3, 8083)]
)
def test_each_worker_of_several_has_a_port_of_its_own(
    first: int | None, place: int, port: int | None
) -> None:
    assert _port_of(first, place) == port


def test_serve_has_the_options_and_other_programs_are_left_alone() -> None:
    program = click.Group()
    jtask_health.jtask_cli(program)
    assert program.commands == {}


@task
def idle() -> None: ...


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    (number,) = free_ports()
    monkeypatch.setenv("JTASK_HEALTH_PORT", str(number))
    get_settings.cache_clear()
    return number


def ask(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as found:
        return str(found.read().decode())


def test_a_worker_answers_until_it_has_stopped(port: int, jtask_worker: Callable[..., Any]) -> None:
    worker = jtask_worker(idle, concurrency=2)
    assert ask(port, "/readyz") == "ok\n"
    status = json.loads(ask(port, "/status"))
    assert (status["tasks"], status["concurrency"], status["executing"]) == (["idle"], 2, [])
    assert status["queues"] == {worker.info.queues[0]: 0}
    worker.stop()
    with pytest.raises(urllib.error.URLError):
        ask(port, "/livez")


def test_a_worker_answers_once_its_port_is_free(
    port: int, jtask_worker: Callable[..., Any]
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        jtask_worker(idle)
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            assert ask(port, "/livez") == "ok\n"
            return
        except urllib.error.URLError:
            assert time.monotonic() < give_up
            time.sleep(0.02)
