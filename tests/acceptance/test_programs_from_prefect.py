"""Programs of the shapes that Prefect's tutorials teach, with the import's name changed."""

import re
import signal
import sys
from typing import Any

GREETER = """
from jtask import task

@task(log_prints=True)
def greet(name: str = "Trillian"):
    print(f"Hello, {name}!")

if __name__ == "__main__":
    greet()
"""

TASK_WORKER = """
from jtask import task
from jtask.task_worker import serve

@task
def background_greeting(name: str):
    print(f"Hello, {name}!", flush=True)

if __name__ == "__main__":
    serve(background_greeting)
"""

SCHEDULER = """
from task_worker import background_greeting

if __name__ == "__main__":
    future = background_greeting.delay("Zaphod")
    print(future)
    print(f"Run {future.task_run_id}")
    future.wait(timeout=60)
    print(f"State {future.state.name}")
    print(f"Result {future.result()}")
"""

THREE_RUNS = """
from task_worker import background_greeting

if __name__ == "__main__":
    for name in ["Zaphod", "Tricia", "Arthur"]:
        background_greeting.delay(name)
"""

MAPPED = """
from task_worker import background_greeting

if __name__ == "__main__":
    background_greeting.map(["Zaphod", "Tricia", "Arthur"], deferred=True)
"""


def write_programs(place: Any) -> None:
    place.write("greeter.py", GREETER)
    place.write("task_worker.py", TASK_WORKER)
    place.write("task_scheduler.py", SCHEDULER)
    place.write("three_runs.py", THREE_RUNS)
    place.write("mapped.py", MAPPED)


def test_a_task_is_called_in_the_foreground_with_its_prints_logged(place: Any) -> None:
    write_programs(place)
    greeter = place.start(sys.executable, "greeter.py")
    assert greeter.wait() == 0
    assert "Hello, Trillian!" in greeter.log


def test_a_file_that_serves_executes_what_another_defers(place: Any) -> None:
    write_programs(place)
    worker = place.start(sys.executable, "task_worker.py")
    scheduler = place.start(sys.executable, "task_scheduler.py")
    assert scheduler.wait() == 0, scheduler.log
    run_id = re.search(r"^Run (\S+)$", scheduler.log, re.MULTILINE)
    assert run_id is not None, scheduler.log
    assert run_id[1] in scheduler.log.splitlines()[0]
    assert "State Completed" in scheduler.log
    assert "Result None" in scheduler.log
    worker.says("Hello, Zaphod!")
    assert worker.stop(signal.SIGINT) == 0


def test_runs_that_were_deferred_before_a_worker_started_are_executed(place: Any) -> None:
    write_programs(place)
    assert place.start(sys.executable, "three_runs.py").wait() == 0
    worker = place.start(sys.executable, "task_worker.py")
    for name in ("Zaphod", "Tricia", "Arthur"):
        worker.says(f"Hello, {name}!")


def test_runs_that_were_mapped_into_the_background_are_executed(place: Any) -> None:
    write_programs(place)
    assert place.start(sys.executable, "mapped.py").wait() == 0
    worker = place.serve("task_worker.py")
    for name in ("Zaphod", "Tricia", "Arthur"):
        worker.says(f"Hello, {name}!")


def test_each_of_three_runs_goes_to_one_of_two_workers(place: Any) -> None:
    write_programs(place)
    workers = [place.start(sys.executable, "task_worker.py") for _ in range(2)]
    for worker in workers:
        worker.is_ready()
    assert place.start(sys.executable, "three_runs.py").wait() == 0

    def greeted() -> int:
        return sum(worker.log.count("Hello, ") for worker in workers)

    place.ask(
        """
        from task_worker import background_greeting
        background_greeting.delay("the last").wait(60)
        print("null")
        """
    )
    for worker in workers:
        assert worker.stop(signal.SIGINT) == 0
    assert greeted() == 4


def test_the_program_serves_a_file_and_the_tasks_of_it_that_are_named(place: Any) -> None:
    write_programs(place)
    worker = place.serve("task_worker.py:background_greeting")
    scheduler = place.start(sys.executable, "task_scheduler.py")
    assert scheduler.wait() == 0, scheduler.log
    worker.says("Hello, Zaphod!")
