"""The runs of a namespace over four streams of a cluster: one that has no leader stops no other."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from nats_cluster import NatsCluster, StartCluster
from waiting import until

from jtask.errors import BrokerError
from jtask_nats.client.connection import Connection

pytestmark = pytest.mark.timeout(180)
FIRST = "JTASK_default"
STREAMS = {
    "q0": FIRST,
    "q4": f"{FIRST}_RUNS_2",
    "q1": f"{FIRST}_RUNS_3",
    "q5": f"{FIRST}_RUNS_4",
}
"""A queue of each stream that holds runs."""
VICTIM = "q0"
"""Its stream is the one that all processes look at first."""
OTHERS = STREAMS.keys() - {VICTIM}

TASKS = """
from jtask import task

@task(queue="q0", key="q0")
def zero(n: int) -> int:
    mark(f"q0 {n}")
    return n

@task(queue="q1", key="q1")
def one(n: int) -> int:
    mark(f"q1 {n}")
    return n

@task(queue="q4", key="q4")
def four(n: int) -> int:
    mark(f"q4 {n}")
    return n

@task(queue="q5", key="q5")
def five(n: int) -> int:
    mark(f"q5 {n}")
    return n
"""

CALLER = """
import itertools, pathlib, threading, time, tasks
from jtask.errors import ResultTimeout

def call(task, numbers, ends, errors):
    late = []
    while not pathlib.Path("stop").exists():
        n = next(numbers)
        try:
            run = task.delay(n)
            try:
                assert run.result(0.5) == n
            except ResultTimeout:
                late.append((n, run))
                continue
        except Exception as error:
            errors.append(f"{task.key} {n}: {error!r}")
        ends.append(time.time())
    for n, run in late:
        try:
            assert run.result(60) == n
        except Exception as error:
            errors.append(f"{task.key} {n}, late: {error!r}")
        ends.append(time.time())

errors = []
ends = {task.key: [] for task in (tasks.zero, tasks.one, tasks.four, tasks.five)}
# None waits for a run that was on its way to a worker by the killed server: it comes again when its
# lease is over, which may be after the election.
threads = [
    threading.Thread(target=call, args=(task, numbers, ends[task.key], errors))
    for task in (tasks.zero, tasks.one, tasks.four, tasks.five)
    for numbers in [itertools.count()]
    for _ in range(4)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps([ends, errors]))
"""


def test_a_stream_without_a_leader_stops_no_queue_of_another(
    place: Any, eventually: Any, start_cluster: StartCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = start_cluster(advertise=True)
    chief = cluster.await_leader()
    victim = next(node.name for node in cluster.nodes if node.name != chief)
    # All at the server that is killed: each loses its connection, and looks at its streams anew.
    place.env |= {"JTASK_URL": cluster.node(victim).url, "JTASK_REPLICAS": "3"}
    place.env["JTASK_NATS_STREAMS"] = "4"
    # An election is no error of the caller's, however long it takes on a machine that is busy.
    place.env["JTASK_ENQUEUE_TIMEOUT"] = "45"
    # What was on its way waits for it: with an election still less than the tests' patience.
    place.env["JTASK_LEASE"] = "10"
    place.write("tasks.py", TASKS)
    workers = [place.serve("tasks.py", "-c", "4") for _ in range(2)]
    for worker in workers:
        worker.is_ready()
    caller = place.start_python(CALLER)
    each_goes_on(place, eventually)
    asyncio.run(ask(cluster, f"STREAM.LEADER.STEPDOWN.{STREAMS[VICTIM]}"))
    each_goes_on(place, eventually)
    asyncio.run(lead_one_stream_alone(cluster, victim, STREAMS[VICTIM]))
    begun, over = asyncio.run(kill_leader(cluster, victim, STREAMS[VICTIM]))
    each_goes_on(place, eventually)
    (place.folder / "stop").touch()
    ends, errors = caller.answer()
    for worker in workers:
        assert worker.stop() == 0
    # By then each has another connection.
    half = (begun + over) / 2
    meanwhile = {name: sum(half < end < over for end in of_it) for name, of_it in ends.items()}
    with capsys.disabled():
        print(f"\n  {over - begun:.1f} s without a leader of {VICTIM}'s stream")
        print(f"  runs in the second half of that: {meanwhile}")
    assert errors == []
    assert all(meanwhile[name] > 0 for name in OTHERS), meanwhile
    # Each once: nothing was lost, nothing was executed twice.
    wanted = [f"{name} {n}" for name, of_it in ends.items() for n in range(len(of_it))]
    assert Counter(place.marks()) == Counter(wanted)


def each_goes_on(place: Any, eventually: Any) -> None:
    """Wait until runs of every queue that came after this are executed."""
    before = Counter(mark.split()[0] for mark in place.marks())

    def all_did() -> bool:
        now = Counter(mark.split()[0] for mark in place.marks())
        return all(now[name] > before[name] + 10 for name in STREAMS)

    eventually(all_did)


async def lead_one_stream_alone(cluster: NatsCluster, server: str, stream: str) -> None:
    """Move leaders until a server leads a stream, and nothing else that jtask uses."""
    connection = await connected(cluster)
    elsewhere = next(node.name for node in cluster.nodes if node.name != server)
    places = {f"STREAM.{{}}.{name}": elsewhere for name in await every_stream(connection)}
    places |= {f"CONSUMER.{{}}.{STREAMS[queue]}.{queue}_0": elsewhere for queue in OTHERS}
    places[f"STREAM.{{}}.{stream}"] = server

    async def all_are_in_place() -> bool:
        try:
            moves = [what for what in places if not await is_in_place(what)]
            for what in moves:
                body = {"placement": {"preferred": places[what]}}
                await connection.api(what.format("LEADER.STEPDOWN"), body)
        except BrokerError:  # what one of them belongs to is choosing its leader just now
            return False
        return not moves

    async def is_in_place(what: str) -> bool:
        info = await connection.api(what.format("INFO"))
        leader = info["cluster"].get("leader")
        return leader == server if places[what] == server else leader not in (None, "", server)

    try:
        await until(all_are_in_place)
    finally:
        await connection.close()


async def kill_leader(cluster: NatsCluster, server: str, stream: str) -> tuple[float, float]:
    """Kill the server that leads a stream, and start it again after an election.

    Returns:
        tuple[float, float]: From when to when that stream had no leader.
    """
    begun = time.time()
    cluster.node(server).kill()
    connection = await connected(cluster)
    try:

        async def is_led() -> bool:
            try:
                info = await connection.api(f"STREAM.INFO.{stream}", timeout=1)
            except BrokerError:
                return False
            return info["cluster"].get("leader") not in (None, "", server)

        assert not await is_led()
        await until(is_led)
        over = time.time()
    finally:
        await connection.close()
    cluster.node(server).start()
    cluster.await_healthy()
    return begun, over


async def every_stream(connection: Connection) -> list[str]:
    names: list[str] = (await connection.api("STREAM.NAMES", {}))["streams"]
    return names


async def connected(cluster: NatsCluster) -> Connection:
    urls = [node.url for node in cluster.nodes]
    return await Connection.open(urls, name="test", connect_timeout=20)


async def ask(cluster: NatsCluster, call: str) -> None:
    connection = await connected(cluster)
    try:
        await connection.api(call, timeout=20)
    finally:
        await connection.close()
