"""`jtask logs` beside real workers, real child processes and a real server."""

import json
import signal
import sys

import pytest
from processes import JTASK, Place

TASKS = """
import logging, os, time
from jtask import get_run_logger, task

log = logging.getLogger("shop")

@task(log_prints=True)
def flood(count: int) -> float:
    began = time.monotonic()
    for number in range(count):
        print("line", number)
    return time.monotonic() - began

@task(isolation="process", log_prints=True)
def apart(count: int) -> None:
    log.info("in %s", "the child")
    for number in range(count):
        print("child", number)
    get_run_logger().warning("last words")

@task(isolation="process", log_prints=True, timeout_seconds=1)
def stuck() -> None:
    print("before it hangs")
    time.sleep(3600)

@task(log_prints=True)
def slow() -> None:
    print("begins")
    mark("begun")
    time.sleep(3600)

@task
def quiet() -> None:
    pass
"""


@pytest.fixture
def shop(place: Place) -> Place:
    place.write("shop.py", TASKS)
    return place


def test_a_follower_beside_a_run_that_prints_100_000_lines_gets_them_in_bounded_memory(
    shop: Place,
) -> None:
    worker = shop.serve("shop:flood")
    worker.is_ready()
    run_id = shop.enqueue("shop:flood", "100000")
    # Its own measure of the most memory it had, in KiB.
    follower = shop.start(
        sys.executable,
        "-c",
        "import sys; from jtask.cli import main\n"
        f"sys.argv = ['jtask', 'logs', '-f', '{run_id}']\n"
        "try: main()\n"
        # Not by getrusage: it counts what the process had that started this one.
        "finally:\n"
        "    for line in open('/proc/self/status'):\n"
        "        if line.startswith('VmHWM'): print(line.split()[1], file=sys.stderr)",
    )
    assert follower.wait() == 0
    *lines, peak = follower.log.splitlines()
    printed = [line.rpartition(" print: ")[2] for line in lines if " print: " in line]
    missing = [line for line in lines if "records are missing here" in line]
    lost = sum(int(line.rpartition("jtask.logs: ")[2].split()[0]) for line in missing)
    numbers = [int(text.split()[1]) for text in printed]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + lost == 100_000
    assert numbers[0] == 0
    assert int(peak) < 200_000
    took = float(shop.jtask("result", run_id).stdout)
    print(f"\n100,000 prints took {took:.2f} s; {lost} lost; follower's peak {int(peak) >> 10} MiB")
    assert worker.stop() == 0


def test_what_a_child_process_logs_and_prints_is_in_the_log_to_the_last_line(shop: Place) -> None:
    worker = shop.serve("shop:apart")
    worker.is_ready()
    run_ids = [shop.enqueue("shop:apart", "500") for _ in range(2)]
    for run_id in run_ids:
        assert shop.jtask("result", run_id).returncode == 0
        found = shop.jtask("logs", "-f", "--json", run_id)
        records = [json.loads(line) for line in found.stdout.splitlines()]
        messages = [record["message"] for record in records]
        assert messages == ["in the child", *(f"child {n}" for n in range(500)), "last words"]
        assert {record["run_id"] for record in records} == {run_id}
        assert (records[0]["logger"], records[0]["level"]) == ("shop", "INFO")
        assert records[-1]["level"] == "WARNING"
        only = shop.jtask("logs", "--level", "warning", run_id).stdout
        assert only.count("\n") == 1
        assert "WARNING jtask.task.apart: last words" in only
    assert worker.stop() == 0


def test_what_a_child_process_has_logged_before_it_is_ended_is_kept(shop: Place) -> None:
    worker = shop.serve("shop:stuck")
    worker.is_ready()
    run_id = shop.enqueue("shop:stuck")
    found = shop.jtask("logs", "-f", run_id)
    assert found.stdout.endswith(" INFO print: before it hangs\n")
    assert "state     TimedOut" in shop.jtask("runs", "show", run_id).stdout
    assert worker.stop() == 0


def test_nothing_is_lost_when_a_worker_is_told_to_stop_while_its_runs_log(shop: Place) -> None:
    worker = shop.serve("shop:flood")
    worker.is_ready()
    run_id = shop.enqueue("shop:flood", "30000")
    follower = shop.start(JTASK, "logs", "-f", run_id)
    follower.says("line 0\n")
    assert worker.stop() == 0
    assert follower.wait() == 0
    assert shop.jtask("logs", run_id).stdout.count("\n") == 30_000


def test_ctrl_c_ends_a_follower_with_130_and_the_run_goes_on(shop: Place) -> None:
    worker = shop.serve("shop:slow")
    worker.is_ready()
    run_id = shop.enqueue("shop:slow")
    follower = shop.start(JTASK, "logs", "-f", run_id)
    follower.says("begins")
    assert follower.stop(signal.SIGINT) == 130
    assert "Traceback" not in follower.log
    assert "state     Running" in shop.jtask("runs", "show", run_id).stdout
    worker.kill()


def test_a_run_that_has_logged_nothing_and_one_that_nobody_knows(shop: Place) -> None:
    worker = shop.serve("shop:quiet")
    worker.is_ready()
    run_id = shop.enqueue("shop:quiet")
    assert shop.jtask("result", run_id).returncode == 0
    for option in ("-f", "--json"):
        silent = shop.jtask("logs", option, run_id)
        assert (silent.returncode, silent.stdout) == (0, "")
        assert silent.stderr == f"run {run_id} has logged nothing so far\n"
    unknown = shop.jtask("logs", "-f", "01a22800-b05f-7026-bf0a-621e995d84dc")
    assert unknown.returncode == 1
    assert "nothing is known about run" in unknown.stderr
    assert shop.jtask("logs", "no-id").returncode == 1
    assert worker.stop() == 0
