"""How long a child process lives that executes isolated runs, and which settings it has."""

import os

import pytest
from in_process import StartWorker, on_each_broker

from jtask import task

jtask_broker = on_each_broker


@task(isolation="process")
def tell() -> tuple[int, str | None]:
    return os.getpid(), os.environ.get("JTASK_NAMESPACE")


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_child_processes_of_a_worker_end_with_it(jtask_worker: StartWorker) -> None:
    worker = jtask_worker(tell)
    pid, _ = tell.delay().result(timeout=30)
    assert is_there(pid)
    assert tell.delay().result(timeout=30)[0] == pid
    worker.stop()
    assert not is_there(pid)


def test_an_isolated_run_has_the_settings_of_now_and_not_of_an_earlier_run(
    jtask_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JTASK_NAMESPACE", "first")
    pid, namespace = tell()
    assert (tell(), namespace) == ((pid, "first"), "first")
    monkeypatch.setenv("JTASK_NAMESPACE", "second")
    other_pid, namespace = tell()
    assert (other_pid == pid, namespace) == (False, "second")
    assert not is_there(pid)
