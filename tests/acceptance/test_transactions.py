"""Transactions and steps of real processes, which are killed at each of their steps."""

import json
import signal
import sys
from typing import Any

import pytest

BLOCK = """
import os, signal, sys, time
from jtask_transactions import keys, transaction

def die(txn=None):
    os.kill(os.getpid(), signal.SIGKILL)

def at(place):
    mark(f"{key} {place}")
    if place == fatal:
        die()

def perform(name, isolation):
    with transaction(key=name, isolation_level=isolation) as outer:
        at("begun")
        if outer.is_committed():
            return outer.read()
        with transaction() as inner:
            at("inner begun")
            inner.stage(1, on_commit_hooks=[lambda txn: at("inner commits")])
            at("inner staged")
        at("inner left")
        outer.stage("value", on_commit_hooks=[lambda txn: at("outer commits")])
        at("staged")
    at("committed")
    return outer.read()

real = keys._write

async def write(*arguments):
    at("before the record")
    await real(*arguments)
    at("after the record")

keys._write = write
isolation, fatal, *names = sys.argv[1:]
for key in names:
    print(perform(key, isolation))
"""
BEFORE = [
    "begun",
    "inner begun",
    "inner staged",
    "inner left",
    "staged",
    "inner commits",
    "outer commits",
    "before the record",
]
AFTER = ["after the record", "committed"]


@pytest.mark.parametrize("isolation", ["READ_COMMITTED", "SERIALIZABLE"])
def test_after_a_kill_the_next_execution_sees_what_was_recorded_and_nothing_else(
    place: Any, isolation: str
) -> None:
    place.write("block.py", BLOCK)
    # The lock of one that was killed ends with its lease.
    env = {"JTASK_LEASE": "1"}
    victims = {
        fatal: place.start(sys.executable, "block.py", isolation, fatal, fatal, **env)
        for fatal in BEFORE + AFTER
    }
    for fatal, victim in victims.items():
        assert victim.wait() == -signal.SIGKILL, (fatal, victim.log)
    follower = place.start(sys.executable, "block.py", isolation, "nowhere", *victims, **env)
    assert follower.wait() == 0, follower.log
    assert follower.log.splitlines().count("value") == len(victims), follower.log
    for fatal in victims:
        done = place.marks().count(f"{fatal} staged")
        before = BEFORE.index("staged") if fatal in BEFORE else 0
        was_staged = fatal in AFTER or BEFORE.index(fatal) >= before
        # Once more where nothing was recorded, and never again where it was.
        assert done == was_staged + (fatal in BEFORE), fatal


def test_of_two_processes_with_one_serializable_key_one_executes(place: Any) -> None:
    place.write(
        "block.py",
        """
        import time
        from jtask_transactions import transaction

        with transaction(key="report", isolation_level="SERIALIZABLE") as txn:
            if not txn.is_committed():
                mark("executed")
                time.sleep(0.3)
                txn.stage({"pages": 3})
        print(txn.read())
        """,
    )
    programs = [place.start(sys.executable, "block.py") for _ in range(4)]
    for program in programs:
        assert program.wait() == 0, program.log
        assert program.log.splitlines()[-1] == "{'pages': 3}"
    assert place.marks() == ["executed"]


def test_the_program_shows_what_is_recorded_and_forgets_it(place: Any) -> None:
    assert place.jtask("transactions", "ls").stderr == "no transaction with a key is recorded\n"
    place.ask(
        """
        from jtask_transactions import transaction
        for number in (7, 8):
            with transaction(key=f"invoice:{number}") as txn:
                txn.stage(number)
        print(0)
        """
    )
    listed = json.loads(place.jtask("transactions", "ls", "--json").stdout)
    assert [(entry["key"], entry["run_id"], entry["size"]) for entry in listed] == [
        ("invoice:7", "", 1),
        ("invoice:8", "", 1),
    ]
    assert "invoice:8" in place.jtask("transactions", "ls").stdout
    assert place.jtask("transactions", "rm", "invoice:7").returncode != 0  # nobody says yes
    gone = place.jtask("transactions", "rm", "invoice:7", "invoice:9", "--yes")
    assert gone.returncode == 1
    assert "1 forgotten" in gone.stderr
    assert "nothing is recorded under 'invoice:9'" in gone.stderr
    assert "invoice:7" not in place.jtask("transactions", "ls").stdout


STEPS = """
import os, signal
from jtask import task
from jtask_transactions import once

def charge(name):
    mark(f"charge {name}")
    if name == "dies" and not os.path.exists("died"):
        open("died", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return f"receipt of {name}"

@task(queue="orders")
def order(name: str) -> str:
    receipt = once("charge", charge, name)
    if name == "is killed" and not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    mark(f"ship {name}")
    return receipt

@task(queue="orders", isolation="process")
def isolated(name: str) -> str:
    return once("charge", charge, name) + once("charge", charge, "another")
"""


@pytest.mark.parametrize(("name", "charged"), [("is killed", 1), ("dies", 2)])
def test_a_killed_worker_does_not_repeat_a_step_that_was_recorded(
    place: Any, name: str, charged: int
) -> None:
    place.write("shop.py", STEPS)
    run_id = place.enqueue("shop.py:order", name)
    victim = place.serve("shop.py", JTASK_LEASE="1")
    victim.wait()
    survivor = place.serve("shop.py", JTASK_LEASE="1")
    assert place.result(run_id)["result"] == f"receipt of {name}"
    assert place.marks() == [f"charge {name}"] * charged + [f"ship {name}"]
    assert survivor.stop() == 0


def test_a_step_is_kept_for_a_task_in_a_process_of_its_own(place: Any) -> None:
    place.write("shop.py", STEPS)
    worker = place.serve("shop.py")
    run_id = place.enqueue("shop.py:isolated", "tea")
    assert place.result(run_id)["result"] == "receipt of tea" * 2
    assert place.marks() == ["charge tea"]
    assert worker.stop() == 0
