"""A process, or the server, is killed at one step of a retry, schedule, cancellation or replay.

Nothing is left to luck: the process that takes the step strikes itself, or the server, right before
or after the request to the broker that the step consists of.
"""

import json
import signal
import sys
from collections import Counter
from typing import Any, NamedTuple

import pytest

# Kills whom STRIKE names, right before or after the nth request of a name that its process makes.
# An "acknowledge" takes the message in hand off its queue, when all that follows from it is stored.
STRIKING = """
import os, signal
from jtask_nats.broker import NatsBroker
from jtask_nats.client.connection import Connection
from jtask_nats.queues.deliveries import ACK, NatsDelivery
from jtask_nats.server.embedded import server_status
from jtask_nats.queues.runs import NatsRuns
from jtask_nats.stores.dead_letters import NatsDeadLetters
from jtask_nats.stores.records import NatsRecords
from jtask_nats.stores.requests import NatsRequests
from jtask_nats.stores.results import NatsResults

def strike():
    open(os.environ["MARKS"] + "." + os.environ["STRIKE"], "x").close()
    if victim == "process":
        os.kill(os.getpid(), signal.SIGKILL)
    os.kill(server_status().pid, signal.SIGKILL)

def count():
    calls.append(name)
    return len(calls) == int(nth)

def striking(whole):
    async def request(*args, **options):
        mine = count()
        if mine and when == "before":
            strike()
        answer = await whole(*args, **options)
        if mine and when == "after":
            strike()
        return answer
    return request

def striking_put(whole):
    # Of one outcome, or of many by column; the last argument takes what came of them.
    def put(self, first, *others):
        *columns, done = others
        mine = any([count() for _ in (first if columns else [first])])
        if mine and when == "before":
            strike()

        def stored(*answer):
            if mine and when == "after":
                strike()
            done(*answer)

        whole(self, first, *columns, stored)
    return put

def striking_answer(whole):
    def answer(self, replies, body):
        if body == ACK and any([count() for _ in replies]):
            strike()
        whole(self, replies, body)
    return answer

OWNERS = {
    "ask": (NatsRequests, "ask"),
    "cancel": (NatsRuns, "cancel"),
    "delete_record": (NatsRecords, "delete"),
    "drop_letter": (NatsDeadLetters, "drop"),
    "enqueue": (NatsRuns, "enqueue"),
    "put_record": (NatsRecords, "put"),
    "reschedule": (NatsDelivery, "reschedule"),
}
calls = []
if "STRIKE" in os.environ:
    victim, name, nth, when = os.environ["STRIKE"].split(":")[:4]
    if name == "acknowledge":
        Connection.respond = striking_answer(Connection.respond)
    elif name == "put":
        # What is sent by the thread that executed the run, or by the I/O thread.
        for way in ("put_many", "put_from_thread"):
            setattr(NatsResults, way, striking_put(getattr(NatsResults, way)))
    else:
        owner, method = OWNERS[name]
        setattr(owner, method, striking(getattr(owner, method)))
"""

TASKS = (
    STRIKING
    + """
import time
from jtask import runtime, task
from jtask.client import cancel_notices
from jtask.errors import RunCancelled
from jtask_cancellation import worker_side

# Seconds; whoever is killed here is believed to be dead sooner than elsewhere.
worker_side._FIRST_LOOK, worker_side._LOST_AFTER, worker_side._LONGEST_PAUSE = 0.3, 1.0, 0.6
cancel_notices._CLAIM_SECONDS = 1.0

def make(kind, function, n, **options):
    made = task(function, name=f"{kind}{n}", key=f"{kind}{n}", queue=f"{kind}{n}", **options)
    globals()[made.name] = made

def flaky():
    mark(f"{runtime.task_name} {runtime.attempt}")
    if runtime.attempt == 1:
        raise ValueError("boom")
    return runtime.attempt

def beat():
    mark(f"{runtime.task_name} {runtime.run_id}")

def patient():
    mark(f"{runtime.task_name} {runtime.run_id}")
    while not runtime.cancelled:
        time.sleep(0.01)
    raise RunCancelled(runtime.cancelled)

def fragile():
    if not os.path.exists("repaired"):
        raise ValueError("broken")
    mark(f"{runtime.task_name} {runtime.run_id}")

for n in range(8):
    make("flaky", flaky, n, retries=1, retry_delay_seconds=0.6)
    make("beat", beat, n, every=1)
    make("patient", patient, n)
    make("fragile", fragile, n)
"""
)
LEASE = {"JTASK_LEASE": "1"}
both_victims = pytest.mark.parametrize("victim", ["process", "server"])


def serve(place: Any, kind: str, count: int) -> Any:
    worker = place.serve(*(f"tasks.py:{kind}{n}" for n in range(count)), **LEASE)
    worker.is_ready()
    return worker


def strike(victim: str, step: str, n: int) -> dict[str, str]:
    """Have a process strike; the number keeps its trace apart from that of others."""
    return {**LEASE, "STRIKE": f"{victim}:{step}:{n}"}


def has_struck(place: Any, eventually: Any, victim: str, step: str, n: int) -> None:
    eventually((place.folder / f"marks.{victim}:{step}:{n}").exists)


def start_striking(place: Any, eventually: Any, victim: str, kind: str, steps: list[str]) -> Any:
    """Start a worker for each step, and return them when all have struck."""
    strikers: list[Any] = []
    for n, step in enumerate(steps):
        strikers.append(place.serve(f"tasks.py:{kind}{n}", **strike(victim, step, n)))
        if victim == "server":
            # One that starts while there is no server would only say so and end.
            strikers[-1].is_ready()
            has_struck(place, eventually, victim, step, n)
    for n, step in enumerate(steps):
        has_struck(place, eventually, victim, step, n)
    return strikers


def call(place: Any, victim: str, calls: list[tuple[str, ...]], steps: list[str]) -> None:
    """Have a caller of its own do each thing, and strike at a step; who hears an error asks again.

    Args:
        place: Where.
        victim: Whom they strike.
        calls: A script and its arguments, each.
        steps: Where each strikes.
    """
    callers: list[Any] = []
    for n, (words, step) in enumerate(zip(calls, steps, strict=True)):
        callers.append(place.start(sys.executable, *words, **strike(victim, step, n)))
        if victim == "process":
            continue
        if callers[-1].wait():
            assert "BrokerUnavailable" in callers[-1].log
            assert place.start(sys.executable, *words).wait() == 0
    for n, (caller, step) in enumerate(zip(callers, steps, strict=True)):
        assert victim == "server" or caller.wait() == -signal.SIGKILL, caller.log
        assert (place.folder / f"marks.{victim}:{step}:{n}").exists()


def ends_of(place: Any, run_ids: list[str]) -> list[list[Any]]:
    """Return state and attempt of each run, once all are over."""
    found: list[list[Any]] = place.ask(
        f"""
        from jtask import get_run
        runs = [get_run(run_id) for run_id in {run_ids}]
        print(json.dumps([run.wait(40) and [run.state.name, run.attempt] for run in runs]))
        """
    )
    return found


def delayed(place: Any, kind: str, count: int, countdown: float = 0.0) -> list[str]:
    run_ids: list[str] = place.ask(
        f"""
        import tasks
        used = [getattr(tasks, f"{kind}{{n}}") for n in range({count})]
        runs = [task.apply_async(countdown={countdown}) for task in used]
        print(json.dumps([run.run_id for run in runs]))
        """
    )
    return run_ids


def assert_all_end(place: Any, run_ids: list[str], state: str) -> None:
    assert [end for end, _ in ends_of(place, run_ids)] == [state] * len(run_ids)


def assert_nothing_is_left(place: Any) -> None:
    """Wait until no run and no cancellation is underway."""
    left = place.ask(
        """
        import time
        from jtask.client import get_client
        from jtask.client.cancel_requests import cancel_requests

        client = get_client()
        deadline = time.monotonic() + 30
        while True:
            busy = [q for q in client.io.run(client.broker.queues.list()) if sum(q[1:4])]
            left = [*map(str, busy), *map(str, client.io.run(cancel_requests(client.broker)))]
            if not left or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        print(json.dumps(left))
        """
    )
    assert left == []


def marks_of(place: Any, name: str) -> list[str]:
    return [line.split()[1] for line in place.marks() if line.split()[0] == name]


RETRY_STEPS = [
    "reschedule:1:before",  # the attempt has failed, nothing is known of it
    "acknowledge:1:before",  # the next attempt is stored beside the one that failed
    "reschedule:1:after",
    "put:1:before",  # the last attempt has ended
    "put:1:after",  # its outcome is stored, its message is still there
]


@both_victims
def test_a_retry_goes_on_whoever_is_killed_at_whichever_step(
    victim: str, place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    run_ids = delayed(place, "flaky", len(RETRY_STEPS))
    strikers = start_striking(place, eventually, victim, "flaky", RETRY_STEPS)
    workers = strikers
    if victim == "process":
        assert [striker.wait() for striker in strikers] == [-signal.SIGKILL] * len(strikers)
        workers = [serve(place, "flaky", len(RETRY_STEPS))]
    assert ends_of(place, run_ids) == [["Completed", 2]] * len(RETRY_STEPS)
    counted = Counter(place.marks())
    assert set(counted) == {f"flaky{n} {i}" for n in range(len(RETRY_STEPS)) for i in (1, 2)}
    twice = {mark for mark, count in counted.items() if count > 1}
    if victim == "process":
        # Only those attempts of whose end nothing was stored begin again.
        assert twice == {"flaky0 1", "flaky3 2"}
    assert max(counted.values()) <= 2
    assert_nothing_is_left(place)
    assert [worker.stop() for worker in workers] == [0] * len(workers)


DECLARE_STEPS = ["put_record:1:after", "enqueue:1:after", "put_record:2:after"]
TICK_STEPS = [
    "enqueue:2:before",  # the first run has come
    "enqueue:2:after",  # the second is in place, the schedule does not say so
    "put_record:3:after",  # the schedule says so, the first has not begun
    "put:1:before",  # the first has ended
    "put:1:after",  # its outcome is stored, its message is still there
]
SCHEDULE_STEPS = DECLARE_STEPS + TICK_STEPS


@both_victims
def test_a_schedule_goes_on_whoever_is_killed_at_whichever_step(
    victim: str, place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    strikers = start_striking(place, eventually, victim, "beat", SCHEDULE_STEPS)
    workers = strikers
    if victim == "process":
        assert [striker.wait() for striker in strikers] == [-signal.SIGKILL] * len(strikers)
        workers = [serve(place, "beat", len(SCHEDULE_STEPS))]
    go_on(place, eventually, [f"beat{n}" for n in range(len(SCHEDULE_STEPS))])
    if victim == "process":
        twice = {mark for mark, count in Counter(place.marks()).items() if count > 1}
        assert {mark.split()[0] for mark in twice} == {"beat6"}  # of whose end nothing was stored
    assert [worker.stop() for worker in workers] == [0] * len(workers)


def go_on(place: Any, eventually: Any, names: list[str]) -> None:
    """Wait for some more runs of each schedule; none may be double."""
    so_far = {name: set(marks_of(place, name)) for name in names}
    for name in names:
        eventually(lambda name=name: len(set(marks_of(place, name)) - so_far[name]) >= 2)
        counted = Counter(marks_of(place, name))
        due = [int(run_id[:8] + run_id[9:13], 16) for run_id in counted]
        assert len(set(due)) == len(due), "an instant was run twice"
        assert {(at - due[0]) % 1000 for at in due} == {0}
        assert sum(counted.values()) <= len(counted) + 1


class Command(NamedTuple):
    """Something that people do with a schedule, and where it is struck."""

    name: str
    step: str


COMMANDS = [
    Command("pause", "put_record:1:after"),
    Command("pause", "cancel:1:after"),
    Command("resume", "put_record:1:after"),
    Command("resume", "enqueue:1:after"),
    Command("remove", "delete_record:1:after"),
    Command("remove", "cancel:1:after"),
]
COMMANDING = """
import asyncio, sys
import tasks
from jtask.client import get_client
from jtask_schedules.schedule_store import ScheduleStore

name, key = sys.argv[1:]
client = get_client()
options = {"declared_too": True} if name == "remove" else {}
client.io.run(getattr(ScheduleStore(client.broker), name)(key, **options))
"""


@both_victims
def test_a_schedule_is_what_it_was_made_although_the_command_is_killed_at_whichever_step(
    victim: str, place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    place.write("commanding.py", COMMANDING)
    names = [f"beat{n}" for n in range(len(COMMANDS))]
    worker = serve(place, "beat", len(COMMANDS))
    for name in names:
        eventually(lambda name=name: marks_of(place, name))
    for command, name in zip(COMMANDS, names, strict=True):
        if command.name == "resume":
            assert place.jtask("schedules", "pause", name).returncode == 0
    assert worker.stop() == 0
    calls = [
        ("commanding.py", command.name, name) for command, name in zip(COMMANDS, names, strict=True)
    ]
    call(place, victim, calls, [command.step for command in COMMANDS])
    paused = {name: len(marks_of(place, name)) for name in names[:2]}
    worker = serve(place, "beat", len(COMMANDS))
    go_on(place, eventually, names[2:])
    assert {name: len(marks_of(place, name)) for name in names[:2]} == paused
    for name in names[:2]:
        assert place.jtask("schedules", "resume", name).returncode == 0
    go_on(place, eventually, names[:2])
    assert worker.stop() == 0


CANCEL_STEPS = [
    "ask:1:after",  # the workers were told, nothing is stored
    "put_record:1:after",  # the wish is stored, the run still waits
    "cancel:1:after",  # the run is taken off its queue
    "put:1:after",  # its outcome is stored
    "delete_record:1:after",
]
CANCELLING = """
import json, sys
import tasks
from jtask import get_run
print(json.dumps(get_run(sys.argv[1]).cancel("enough").result))
"""


@both_victims
def test_a_run_that_waits_is_cancelled_whoever_is_killed_at_whichever_step(
    victim: str, place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    place.write("cancelling.py", CANCELLING)
    bystander = serve(place, "patient", len(CANCEL_STEPS))
    run_ids = delayed(place, "patient", len(CANCEL_STEPS), countdown=3600)
    call(place, victim, [("cancelling.py", run_id) for run_id in run_ids], CANCEL_STEPS)
    if victim == "process":
        again = place.start(sys.executable, "cancelling.py", run_ids[0])
        assert again.answer() == "never starts"
    assert_all_end(place, run_ids, "Cancelled")
    assert_nothing_is_left(place)
    assert bystander.stop() == 0
    assert not [mark for mark in place.marks() if mark.startswith("patient")]


@both_victims
def test_a_run_in_hand_is_cancelled_whoever_is_killed_before_its_end_is_stored(
    victim: str, place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    place.write("cancelling.py", CANCELLING)
    step = "put:1:before"
    options = ("-c", "1", "--prefetch", "1")
    holder = place.serve("tasks.py:patient0", *options, **strike(victim, step, 0))
    executing = delayed(place, "patient", 1)[0]
    eventually(lambda: marks_of(place, "patient0"))
    held = delayed(place, "patient", 1)[0]
    place.ask(HOLDING.format(run_id=held))
    caller = place.start(sys.executable, "cancelling.py", held)
    has_struck(place, eventually, victim, step, 0)
    # With nobody else to take it, the run waits again as soon as the lease of the dead is over.
    if caller.wait():
        assert victim == "server"
        assert "BrokerUnavailable" in caller.log
        caller = place.start(sys.executable, "cancelling.py", held)
    answer = caller.answer()
    if victim == "process":
        assert holder.wait() == -signal.SIGKILL
        holder = serve(place, "patient", 1)
        eventually(lambda: len(marks_of(place, "patient0")) > 1)
    if answer == "never starts":
        assert held not in marks_of(place, "patient0")
        assert_all_end(place, [held], "Cancelled")
    for run_id in (executing, held):
        place.start(sys.executable, "cancelling.py", run_id).answer()
    assert_all_end(place, [executing, held], "Cancelled")
    assert_nothing_is_left(place)
    assert holder.stop() == 0


HOLDING = """
import time, tasks
from jtask.client import get_client
client = get_client()

async def waits():
    return "{run_id}" in {{run.run_id async for run in client.broker.queues.waiting("patient0")}}

while client.io.run(waits()):
    time.sleep(0.01)
print("null")
"""

REPLAY_STEPS = [
    "put_record:1:after",  # the new run has an id
    "enqueue:1:before",
    "enqueue:1:after",  # it is enqueued
    "put_record:2:after",  # the record says so
    "drop_letter:1:after",  # the letter is gone
]
ADMIT_STEPS = ["put_record:1:before", "put_record:1:after"]
REPLAYING = """
import sys
import tasks
from jtask_dead_letters.operations import replay_letter
replay_letter(sys.argv[1])
"""


@both_victims
def test_a_letter_is_replayed_as_one_run_whoever_is_killed_at_whichever_step(
    victim: str, place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    place.write("replaying.py", REPLAYING)
    steps = REPLAY_STEPS + ADMIT_STEPS
    worker = serve(place, "fragile", len(steps))
    letters = delayed(place, "fragile", len(steps))
    assert_all_end(place, letters, "Failed")
    assert_nothing_is_left(place)
    assert worker.stop() == 0
    (place.folder / "repaired").touch()
    calls = [("replaying.py", run_id) for run_id in letters]
    call(place, victim, calls[: len(REPLAY_STEPS)], REPLAY_STEPS)
    workers: list[Any] = []
    for n, step in enumerate(ADMIT_STEPS, len(REPLAY_STEPS)):
        # Whoever is struck at an admission got the run from somebody who died.
        dying = place.start(sys.executable, *calls[n], **strike("process", "enqueue:1:after", n))
        assert dying.wait() == -signal.SIGKILL
        workers.append(place.serve(f"tasks.py:fragile{n}", **strike(victim, step, n)))
        has_struck(place, eventually, victim, step, n)
    if victim == "process":
        assert [one.wait() for one in workers] == [-signal.SIGKILL] * len(workers)
        workers = []
    workers.append(serve(place, "fragile", len(steps)))
    new_ids = [replayed(place, letters) for _ in range(2)]
    assert new_ids[0] == new_ids[1]
    assert_all_end(place, new_ids[0], "Completed")
    for n, run_id in enumerate(new_ids[0]):
        assert set(marks_of(place, f"fragile{n}")) == {run_id}
    assert json.loads(place.jtask("dead", "ls", "--json").stdout) == []
    assert_nothing_is_left(place)
    assert [one.stop() for one in workers] == [0] * len(workers)


def replayed(place: Any, letters: list[str]) -> list[str]:
    done = place.jtask("dead", "replay", *letters, "--json")
    assert done.returncode == 0, done.stderr
    return [answer["new_run_id"] for answer in json.loads(done.stdout)]


PURGE_STEPS = ["cancel:2:after", "put:2:after"]
PURGING = """
import sys
import tasks
from jtask_queues.operations import purge_queue
purge_queue(sys.argv[1])
"""


@both_victims
def test_a_purged_run_ends_whoever_is_killed_at_whichever_step(
    victim: str, place: Any, eventually: Any
) -> None:
    place.write("tasks.py", TASKS)
    place.write("purging.py", PURGING)
    bystander = serve(place, "patient", len(PURGE_STEPS))
    run_ids = [
        run_id for _ in range(3) for run_id in delayed(place, "patient", len(PURGE_STEPS), 3600)
    ]
    calls = [("purging.py", f"patient{n}") for n in range(len(PURGE_STEPS))]
    call(place, victim, calls, PURGE_STEPS)
    for n in range(len(PURGE_STEPS)):
        assert place.jtask("queues", "purge", f"patient{n}", "--yes").returncode == 0
    assert_all_end(place, run_ids, "Cancelled")
    assert_nothing_is_left(place)
    assert bystander.stop() == 0
    assert place.marks() == []
