"""What must hold for a whole system when its parts die, block, fill up or come in crowds."""

from typing import Any

import pytest

TASKS = """
import asyncio, hashlib, re, time
from jtask import task

@task(queue="shared")
def number(n: int) -> int:
    mark(f"{n}")
    time.sleep(0.01)
    return n

@task
def size(data: bytes) -> int:
    return len(data)

@task
def big(count: int) -> str:
    return "x" * count

@task
async def echo(n: int) -> int:
    return n

@task
async def quick_number(n: int) -> int:
    mark(str(n))
    return n

@task
def python_loop(seconds: float) -> str:
    mark("python_loop")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "done"

@task
def c_loop(seconds: float) -> str:
    # Ever longer calls into C, none of which gives up the interpreter's lock.
    mark("c_loop")
    begun = time.monotonic()
    size = 1 << 16
    while time.monotonic() - begun < seconds:
        begun_one = time.monotonic()
        pow(7, size)
        if time.monotonic() - begun_one < seconds / 2:
            size *= 2
    return "done"

@task
async def blocked_loop(seconds: float) -> str:
    mark("blocked_loop")
    time.sleep(seconds)
    return "done"
"""


def test_a_killed_worker_among_2000_runs_leaves_each_with_one_outcome(
    place: Any, eventually: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write("tasks.py", TASKS)
    workers = [place.serve("tasks.py", "-c", "10", JTASK_LEASE="2") for _ in range(2)]
    for worker in workers:
        worker.is_ready()
    waiting = place.start_python(
        """
        import tasks
        runs = tasks.number.delay_many([(i,) for i in range(2000)])
        print(json.dumps([run.result(50) for run in runs]))
        """
    )
    eventually(lambda: len(place.marks()) > 500)
    workers[0].kill()
    assert waiting.answer() == list(range(2000))
    marks = place.marks()
    with capsys.disabled():
        print(f"\n  one worker killed: {len(marks) - len(set(marks))} of 2000 runs ran twice")
    assert set(marks) == {str(n) for n in range(2000)}
    assert workers[1].stop() == 0


def test_no_accepted_run_is_lost_when_the_server_is_killed_and_waiters_wake(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "10", JTASK_LEASE="2")
    worker.is_ready()
    waiting = place.start_python(
        """
        import tasks
        runs = [tasks.number.delay(i) for i in range(600)]
        print(json.dumps([run.result(50) for run in runs]))
        """
    )
    for already in (50, 250):
        eventually(lambda target=already: len(place.marks()) > target)
        place.kill_server()
    assert waiting.answer() == list(range(600))
    assert worker.stop() == 0


def test_no_end_is_lost_when_the_server_is_killed_while_many_runs_end_together(
    place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "100", JTASK_LEASE="2")
    worker.is_ready()
    waiting = place.start_python(
        """
        import tasks
        runs = tasks.quick_number.delay_many([(i,) for i in range(5000)])
        print(json.dumps([run.result(50) for run in runs]))
        """
    )
    for already in (300, 1500, 3000):
        eventually(lambda target=already: len(place.marks()) > target)
        place.kill_server()
    assert waiting.answer() == list(range(5000))
    assert set(place.marks()) == {str(n) for n in range(5000)}
    assert worker.stop() == 0


@pytest.mark.parametrize("name", ["python_loop", "c_loop", "blocked_loop"])
def test_a_task_that_blocks_for_three_leases_is_not_delivered_twice(place: Any, name: str) -> None:
    place.write("tasks.py", TASKS)
    workers = [place.serve("tasks.py", "-c", "4", JTASK_LEASE="2") for _ in range(2)]
    for worker in workers:
        worker.is_ready()
    run_id = place.enqueue(f"tasks.py:{name}", "6")
    assert place.result(run_id)["result"] == "done"
    for worker in workers:
        assert worker.stop() == 0
    assert place.marks() == [name]


def test_a_20_mb_argument_and_a_50_mb_result_travel_unnoticed(place: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py")
    answer = place.ask(
        """
        import tasks
        size = tasks.size.delay(b"x" * 20_000_000)
        big = tasks.big.delay(50_000_000)
        print(json.dumps([size.result(50), len(big.result(50))]))
        """
    )
    assert answer == [20_000_000, 50_000_000]
    assert worker.stop() == 0


def test_ten_thousand_waiters_in_one_process_all_wake(place: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "100")
    answer = place.ask(
        """
        import asyncio, tasks

        async def main():
            runs = await tasks.echo.adelay_many([(n,) for n in range(10_000)])
            return await asyncio.gather(*runs)

        print(json.dumps(asyncio.run(main()) == list(range(10_000))))
        """
    )
    assert answer is True
    assert worker.stop() == 0


def test_100_threads_and_5_loops_delay_at_once(place: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py", "-c", "100")
    answer = place.ask(
        """
        import asyncio, concurrent.futures, tasks

        def thread(n):
            return [tasks.echo.delay(n * 10 + i).result(50) for i in range(10)]

        def loop(n):
            async def main():
                runs = [await tasks.echo.adelay(1000 + n * 10 + i) for i in range(10)]
                return await asyncio.gather(*runs)
            return asyncio.run(main())

        with concurrent.futures.ThreadPoolExecutor(105) as pool:
            parts = [*pool.map(thread, range(100)), *pool.map(loop, range(5))]
        print(json.dumps(sorted(n for part in parts for n in part)))
        """
    )
    assert answer == list(range(1050))
    assert worker.stop() == 0


def test_a_forked_child_uses_a_connection_of_its_own(place: Any) -> None:
    place.write("tasks.py", TASKS)
    worker = place.serve("tasks.py")
    answer = place.ask(
        """
        import os, tasks
        first = tasks.echo.delay(1).result(30)
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, str(tasks.echo.delay(2).result(30)).encode())
            os._exit(0)
        os.waitpid(pid, 0)
        print(json.dumps([first, int(os.read(read, 10)), tasks.echo.delay(3).result(30)]))
        """
    )
    assert answer == [1, 2, 3]
    assert worker.stop() == 0


def test_delay_without_a_server_fails_within_the_stated_time(place: Any) -> None:
    place.write("tasks.py", TASKS)
    place.env |= {"JTASK_URL": "nats://127.0.0.1:9", "JTASK_CONNECT_TIMEOUT": "1"}
    name, message, seconds = place.ask(
        """
        import time, tasks
        begun = time.monotonic()
        try:
            tasks.echo.delay(1)
        except Exception as error:
            print(json.dumps([type(error).__name__, str(error), time.monotonic() - begun]))
        """
    )
    assert name == "BrokerUnavailable"
    assert "127.0.0.1:9 within 1 s" in message
    assert "\n" not in message
    assert 1 <= seconds < 30  # what it would be without the setting


def test_delay_fails_within_its_timeout_while_the_server_hangs(place: Any) -> None:
    place.write("tasks.py", TASKS)
    place.env |= {"JTASK_ENQUEUE_TIMEOUT": "1.5"}
    name, message, seconds, then = place.ask(
        """
        import os, pathlib, signal, time, tasks
        from jtask_nats.server.embedded import server_status
        tasks.echo.delay(1)
        pid = server_status().pid
        os.kill(pid, signal.SIGSTOP)
        # The signal is sent: a thread of the server's that runs just now may still answer.
        threads = list(pathlib.Path(f"/proc/{pid}/task").glob("*/stat"))
        while any(one.read_text().rpartition(") ")[2][0] != "T" for one in threads):
            time.sleep(0.001)
        begun = time.monotonic()
        try:
            tasks.echo.delay(2)
        except Exception as error:
            found = [type(error).__name__, str(error), time.monotonic() - begun]
        os.kill(pid, signal.SIGCONT)
        print(json.dumps([*found, len(tasks.echo.delay(3).run_id)]))
        """
    )
    assert name == "BrokerUnavailable"
    assert "within 1.5 s" in message
    assert 1.5 <= seconds < 30
    assert then == 36


def test_a_full_server_refuses_runs_and_those_it_has_execute_once_there_is_room(place: Any) -> None:
    place.write("tasks.py", TASKS)
    place.env |= {"JTASK_SERVER_STORE_LIMIT": "600MB"}
    accepted, kinds, message = place.ask(
        """
        import tasks
        accepted = 0
        try:
            while True:
                tasks.size.delay_many([(b"x" * 300_000,)] * 200)
                accepted += 200
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            print(json.dumps([accepted, kinds, str(error)]))
        """
    )
    assert "BrokerFull" in kinds
    assert "\n" not in message
    assert place.jtask("server", "stop").returncode == 0
    place.env |= {"JTASK_SERVER_STORE_LIMIT": "2GB"}
    worker = place.serve("tasks.py")
    left = place.ask(
        """
        import asyncio, tasks
        from jtask.client import get_client
        client = get_client()

        async def drained():
            while await client.broker.queues.depth(tasks.size.queue):
                await asyncio.sleep(0.1)
            return 0

        print(json.dumps(client.io.run(drained())))
        """
    )
    assert (accepted > 0, left) == (True, 0)
    assert worker.stop() == 0
