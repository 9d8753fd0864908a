"""The health ports of several worker processes under one supervisor."""

import json
import os
import signal
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from free_ports import free_ports

TASKS = """
from jtask import task

@task
def work() -> None: ...
"""


def worker_at(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=40) as answer:
            return str(json.load(answer)["worker"])
    except OSError:
        return ""


def test_each_worker_has_a_port_and_its_successor_gets_it(
    place: Any, eventually: Callable[[Callable[[], Any]], Any]
) -> None:
    place.write("tasks.py", TASKS)
    first, second = free_ports(2)
    program = place.serve("tasks.py", "--processes", "2", "--health-port", str(first))
    names = [eventually(lambda at=port: worker_at(at)) for port in (first, second)]
    pids = [int(name.rpartition("-")[2]) for name in names]
    assert sorted(pids) == sorted(program.children())
    os.kill(pids[1], signal.SIGKILL)
    successor = eventually(lambda: {worker_at(second)} - {"", names[1]})
    assert worker_at(first) == names[0]
    assert int(successor.pop().rpartition("-")[2]) in program.children()
    assert program.stop() == 0


@pytest.mark.parametrize(
    "loop", ["asyncio.get_running_loop()", "get_client().io.loop"], ids=["tasks", "broker"]
)
def test_a_worker_ends_at_once_with_an_error_when_one_of_its_loops_has_ended(
    loop: str, place: Any
) -> None:
    place.write(
        "tasks.py",
        f"""
        import asyncio
        import sys
        sys.modules["uvloop"] = None  # its loops can't be broken from Python
        from jtask import task
        from jtask.client import get_client

        @task
        async def break_it() -> None:
            loop = {loop}
            loop.call_soon_threadsafe(loop._selector.close)
            await asyncio.sleep(3600)
        """,
    )
    worker = place.serve("tasks.py")
    worker.is_ready()
    place.enqueue("tasks:break_it")
    assert worker.wait() == 4
    assert "has ended" in worker.log.splitlines()[-1]
