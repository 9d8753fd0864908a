"""One worker, real processes: what it serves, how it shares, how it stops."""

import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

TASKS = """
from jtask import task
from jtask.task_worker import serve

@task
def resize(width: int) -> int:
    return width * 2

@task
def thumb(width: int) -> int:
    return width // 2

if __name__ == "__main__":
    serve(resize, thumb)
"""

SLOW = """
import asyncio, time
from jtask import task

@task
def slow(name: str, seconds: float = 600.0) -> str:
    mark(f"began {name}")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not os.path.exists(name):
        time.sleep(0.01)
    mark(f"ended {name}")
    return f"{name} done"

@task
async def slow_async(name: str, seconds: float = 600.0) -> str:
    mark(f"began {name}")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not os.path.exists(name):
        await asyncio.sleep(0.01)
    mark(f"ended {name}")
    return f"{name} done"
"""

Eventually = Callable[[Callable[[], Any]], Any]


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "tasks.py"],
        ["-m", "jtask.cli", "serve", "tasks.py"],
        ["-m", "jtask.cli", "serve", "tasks.py:resize"],
        ["-m", "jtask.cli", "serve", "tasks"],
        ["-m", "jtask.cli", "serve", "tasks:resize"],
    ],
    ids=lambda command: " ".join(command[-2:]),
)
def test_a_run_is_found_by_every_way_to_serve_its_task(place: Any, command: list[str]) -> None:
    place.write("tasks.py", TASKS)
    run_id = place.ask("import tasks; print(json.dumps(tasks.resize.delay(4).run_id))")
    place.start(*([sys.executable] if command[0] == "-m" else []), *command)
    assert place.result(run_id)["result"] == 8


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "pkg/jobs.py"],
        [sys.executable, "-m", "pkg.jobs"],
        [sys.executable, "-m", "jtask.cli", "serve", "pkg/jobs.py"],
        [sys.executable, "-m", "jtask.cli", "serve", "pkg.jobs:resize"],
    ],
    ids=lambda command: " ".join(command[-2:]),
)
def test_a_module_in_a_package_has_the_same_tasks_however_it_is_served(
    place: Any, command: list[str]
) -> None:
    place.write("pkg/__init__.py", "")
    place.write("pkg/jobs.py", TASKS)
    run_id = place.ask("from pkg import jobs; print(json.dumps(jobs.resize.delay(4).run_id))")
    place.start(*command)
    assert place.result(run_id)["result"] == 8


def test_runs_enqueued_before_any_worker_exists_are_executed_when_one_starts(place: Any) -> None:
    place.write("tasks.py", TASKS)
    run_ids = place.ask(
        """
        import tasks
        runs = tasks.resize.delay_many([(i,) for i in range(50)])
        print(json.dumps([run.run_id for run in runs]))
        """
    )
    place.serve("tasks.py")
    values = place.ask(
        f"""
        from jtask import get_run
        print(json.dumps([get_run(i).result(30) for i in {run_ids}]))
        """
    )
    assert values == [2 * i for i in range(50)]


def test_two_workers_share_the_runs_and_each_is_executed_once(place: Any) -> None:
    place.write(
        "tasks.py",
        """
        import time
        from jtask import task

        @task
        def work(number: int) -> int:
            mark(f"{os.getpid()} {number}")
            time.sleep(0.02)
            return os.getpid()
        """,
    )
    workers = [place.serve("tasks.py", "-c", "2") for _ in range(2)]
    for worker in workers:
        worker.is_ready()
    pids = place.ask(
        """
        import tasks
        runs = tasks.work.delay_many([(i,) for i in range(200)])
        print(json.dumps([run.result(30) for run in runs]))
        """
    )
    executed = Counter(mark.split()[1] for mark in place.marks())
    assert executed == Counter(map(str, range(200)))
    assert set(pids) == {worker.pid for worker in workers}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("task", ["slow", "slow_async"])
def test_a_first_signal_lets_a_run_finish_and_exits_with_0(
    place: Any, eventually: Eventually, number: int, task: str
) -> None:
    place.write("tasks.py", SLOW)
    worker = place.serve("tasks.py")
    run_id = place.enqueue(f"tasks.py:{task}", "one")
    eventually(lambda: place.marks() == ["began one"])
    worker.send(number)
    worker.says("is stopping")
    (place.folder / "one").touch()
    assert worker.wait() == 0
    assert place.marks() == ["began one", "ended one"]
    assert place.result(run_id)["result"] == "one done"


@pytest.mark.parametrize("imported", ["click.py", "tasks.py"])
def test_ctrl_c_while_it_still_imports_shows_no_traceback(
    place: Any, eventually: Eventually, imported: str
) -> None:
    place.write("tasks.py", SLOW)
    place.write(imported, "mark('imports')\nwhile True: pass")
    worker = place.start_python(
        """
        import signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
        from jtask.cli.entry import start
        sys.argv = ["jtask", "serve", "tasks.py"]
        start()
        """
    )
    eventually(place.marks)
    assert worker.stop(signal.SIGINT) == 130
    assert worker.log == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("task", ["slow", "slow_async"])
def test_a_second_signal_hands_a_run_to_another_worker_at_once(
    place: Any, eventually: Eventually, number: int, task: str
) -> None:
    place.write("tasks.py", SLOW)
    # A lease that would not run out within the test: the run moves because it is handed back.
    first = place.serve("tasks.py", JTASK_LEASE="300")
    run_id = place.enqueue(f"tasks.py:{task}", "one")
    eventually(lambda: place.marks() == ["began one"])
    first.send(number)
    first.says("is stopping")
    first.send(number)
    assert first.wait() == 0
    (place.folder / "one").touch()
    second = place.serve("tasks.py", JTASK_LEASE="300")
    assert place.result(run_id)["result"] == "one done"
    assert place.marks() == ["began one", "began one", "ended one"]
    assert "handed back 1 run" in first.log
    assert second.stop() == 0


@pytest.mark.parametrize("task", ["slow", "slow_async"])
def test_a_run_that_outlives_the_shutdown_timeout_is_handed_back(
    place: Any, eventually: Eventually, task: str
) -> None:
    place.write("tasks.py", SLOW)
    worker = place.serve("tasks.py", "--shutdown-timeout", "0.2", JTASK_LEASE="300")
    run_id = place.enqueue(f"tasks.py:{task}", "one")
    eventually(lambda: place.marks() == ["began one"])
    assert worker.stop() == 0
    (place.folder / "one").touch()
    place.serve("tasks.py", JTASK_LEASE="300")
    assert place.result(run_id)["result"] == "one done"
    assert place.marks() == ["began one", "began one", "ended one"]


def test_runs_that_wait_for_a_slot_move_to_another_worker_when_theirs_stops(
    place: Any, eventually: Eventually
) -> None:
    place.write("tasks.py", SLOW)
    first = place.serve("tasks.py", "-c", "1", "--prefetch", "5", JTASK_LEASE="300")
    run_id = place.enqueue("tasks.py:slow", "one")
    eventually(lambda: place.marks() == ["began one"])
    others = [place.enqueue("tasks.py:slow", f"other{i}", "0") for i in range(3)]
    first.send(signal.SIGTERM)
    first.says("is stopping")
    second = place.serve("tasks.py", JTASK_LEASE="300")
    assert [place.result(i)["state"] for i in others] == ["Completed"] * 3
    (place.folder / "one").touch()
    assert first.wait() == 0
    assert place.result(run_id)["result"] == "one done"
    assert second.stop() == 0


def test_aserve_works_inside_a_program_until_it_is_cancelled(place: Any) -> None:
    place.write("tasks.py", TASKS)
    found = place.ask(
        """
        import asyncio, tasks
        from jtask.task_worker import aserve

        async def main():
            worker = asyncio.create_task(aserve(tasks.resize))
            value = await (await tasks.resize.adelay(21))
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            return [value, worker.cancelled()]

        print(json.dumps(asyncio.run(main())))
        """
    )
    assert found == [42, True]


def test_a_worker_shows_what_the_users_own_loggers_say_with_the_run(place: Any) -> None:
    place.write(
        "told.py",
        """
        import logging
        from jtask import task

        log = logging.getLogger("shop.orders")

        @task
        def order(what: str) -> str:
            log.info("packing %s", what)
            log.debug("weighing %s", what)
            return what
        """,
    )
    worker = place.serve("--log-level=debug", "told.py")
    worker.is_ready()
    run_id = place.enqueue("told.py:order", "tea")
    worker.says(f"INFO [order {run_id}] shop.orders: packing tea")
    worker.says(f"DEBUG [order {run_id}] shop.orders: weighing tea")
    worker.says(f"DEBUG order {run_id} starts (attempt 1)")
    worker.says(f"INFO order {run_id} Completed in")
    assert worker.stop() == 0


def test_a_task_that_logs_to_the_root_does_not_double_the_lines(place: Any) -> None:
    place.write(
        "careless.py",
        """
        import logging
        from jtask import task

        @task
        def warn() -> None:
            logging.warning("said by the task")
        """,
    )
    worker = place.serve("careless.py")
    worker.is_ready()
    for _ in range(2):
        place.result(place.enqueue("careless.py:warn"))
    worker.says("Completed in", times=2)
    worker.stop()
    assert worker.log.count("Completed in") == 2
    assert worker.log.count("said by the task") == 2
