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

def call(task, numbers, ends, errors):
    while not pathlib.Path("stop").exists():
        n = next(numbers)
        try:
            assert task.delay(n).result(60) == n
        except Exception as error:
            errors.append(f"{task.key} {n}: {error!r}")
        ends.append(time.time())

errors = []
ends = {task.key: [] for task in (tasks.zero, tasks.one, tasks.four, tasks.five)}
# Several, since a run that is on its way to a worker by the killed server waits for its lease.
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
    cluster = start_cluster()
    cluster.await_leader()
    place.env |= {"JTASK_URL": cluster.url, "JTASK_REPLICAS": "3", "JTASK_NATS_STREAMS": "4"}
    # An election is no error of the caller's, however long it takes on a machine that is busy.
    place.env["JTASK_ENQUEUE_TIMEOUT"] = "45"
    # With both workers at the killed server all that was on its way waits for it: with an election
    # that is still less than the patience of the tests.
    place.env["JTASK_LEASE"] = "10"
    place.write("tasks.py", TASKS)
    workers = [place.serve("tasks.py", "-c", "4") for _ in range(2)]
    for worker in workers:
        worker.is_ready()
    caller = place.start_python(CALLER)
    each_goes_on(place, eventually)
    asyncio.run(ask(cluster, f"STREAM.LEADER.STEPDOWN.{STREAMS[VICTIM]}"))
    each_goes_on(place, eventually)
    without_leader = asyncio.run(kill_leader_of_one(cluster))
    each_goes_on(place, eventually)
    (place.folder / "stop").touch()
    ends, errors = caller.answer()
    for worker in workers:
        assert worker.stop() == 0
    begun, over = without_leader
    meanwhile = {name: sum(begun < end < over for end in of_it) for name, of_it in ends.items()}
    with capsys.disabled():
        print(f"\n  {over - begun:.1f} s without a leader of {VICTIM}'s stream: {meanwhile}")
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


async def kill_leader_of_one(cluster: NatsCluster) -> tuple[float, float]:
    """Kill the server that leads one stream and nothing else, and start it again after an election.

    Returns:
        tuple[float, float]: From when to when that stream had no leader.
    """
    connection, stream = await connected(cluster), STREAMS[VICTIM]
    try:
        victim = await leading_nothing_else(connection, stream, cluster.await_leader())
    finally:
        await connection.close()
    begun = time.time()
    cluster.node(victim).kill()
    connection = await connected(cluster)
    try:

        async def is_led() -> bool:
            try:
                info = await connection.api(f"STREAM.INFO.{stream}", timeout=1)
            except BrokerError:
                return False
            return info["cluster"].get("leader") not in (None, "", victim)

        await until(is_led)
        over = time.time()
    finally:
        await connection.close()
    cluster.node(victim).start()
    cluster.await_healthy()
    return begun, over


async def leading_nothing_else(connection: Connection, stream: str, chief: str) -> str:
    """Move leaders until the server that leads a stream leads nothing else; return its name.

    Args:
        connection: To the cluster.
        stream: Which.
        chief: The leader of the cluster, without whom no election is seen.
    """
    others = [f"STREAM.{{}}.{name}" for name in await every_stream(connection) if name != stream]
    others += [f"CONSUMER.{{}}.{STREAMS[queue]}.{queue}_0" for queue in sorted(OTHERS)]
    victim = ""

    async def is_alone() -> bool:
        nonlocal victim
        try:
            victim = await leader_of(connection, f"STREAM.{{}}.{stream}")
            wrong = [f"STREAM.{{}}.{stream}"] if victim in ("", chief) else []
            wrong += [what for what in others if await leader_of(connection, what) in ("", victim)]
            for what in wrong:
                await connection.api(what.format("LEADER.STEPDOWN"))
        except BrokerError:  # what one of them belongs to is choosing its leader just now
            return False
        return not wrong

    await until(is_alone)
    return victim


async def leader_of(connection: Connection, what: str) -> str:
    info = await connection.api(what.format("INFO"))
    return str(info["cluster"].get("leader") or "")


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
