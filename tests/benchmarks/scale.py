"""What a run costs as there are more of them, more queues, or more workers.

Costs are CPU time, which other programs disturb less than the clock: of the caller, the server and
the workers. Each row has a server of its own; BENCH_SCALE="10,1000" measures only these rows.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import bare_queues
from bench_tasks import noop
from harness import HERE, cpu_seconds, own_server, resident, until, worker

QUEUED = (1_000, 10_000, 100_000, 1_000_000)
QUEUES = (1, 10, 100, 1_000)
WORKERS = (1, 10, 50, 200)
_SAMPLE = 20_000  # runs that are measured, at most
_SINGLE = 2_000  # of them enqueued one by one
_CHUNK = 10_000  # in one call of `delay_many`
_IDLE = 5.0  # seconds
_LEAST = 10_000  # runs that are measured, at least
_BEGUN = 100  # runs after which the workers have begun
_LOOK = 0.01  # seconds between two looks at how many are left
_PATIENCE = 240.0  # seconds
_WARM_UP = 500  # runs


class Spent(NamedTuple):
    """What some processes have used, by the clock and of CPU, for some runs; in seconds."""

    runs: int
    wall: float
    cpu: Mapping[str, float]


def queued() -> None:
    """Enqueue and drain with 1,000 to 1,000,000 runs on one queue."""
    _head("queued", "delay_many", "delay()", "drain")
    for count in _chosen(QUEUED):
        with own_server():
            _queued(count)


def queues() -> None:
    """One worker for 1 to 1,000 tasks, each with a queue of its own."""
    _head("queues", "delay()", "drain", "pulls and acks alone", "idle, ms/s")
    for count in _chosen(QUEUES):
        with own_server():
            noop.delay()
            bare = bare_queues.server_cost(count, _SAMPLE // 2, _pids()["server"])
        with own_server():
            _queues(count, bare)


def workers() -> None:
    """One queue for 1 to 200 workers: as many connections and consumptions, in two processes.

    Each stores an outcome and acks; what a whole worker does beside is the same whatever their
    number.
    """
    _head("workers", "drain", "idle, ms/s")
    for count in _chosen(WORKERS):
        with own_server():
            _workers(count)


def _chosen(rows: tuple[int, ...]) -> list[int]:
    wanted = os.environ.get("BENCH_SCALE", "").replace(",", " ").split()
    return [row for row in rows if not wanted or str(row) in wanted]


def _queued(count: int) -> None:
    noop.delay()
    with worker("bench_tasks.py:noop", concurrency=100) as process:
        noop.delay_many([()] * _WARM_UP)
        _until_left(0)
        pids = _pids(worker=process.pid)
        sample = min(count, _SAMPLE)
        filled, drained = list[Spent](), list[Spent]()
        # Few runs are measured several times.
        for _ in range(_LEAST // count):
            _pause(noop.queue)
            filled.append(_measured(pids, sample, lambda: noop.delay_many([()] * sample)))
            drained.append(_drained(pids, 0))
        _pause(noop.queue)
        for _ in range((count - sample) // _CHUNK):
            noop.delay_many([()] * _CHUNK)
        filled.append(_measured(pids, sample, lambda: noop.delay_many([()] * sample)))
        single = _measured(pids, _SINGLE, _delay_singly)
        drained.append(_drained(pids, count + _SINGLE - sample))
        _row(f"{count:,}", [_cost(filled), _cost([single]), _cost(drained)], pids)


def _queues(count: int, bare: float) -> None:
    os.environ["BENCH_QUEUES"] = str(count)
    import scale_tasks

    tasks = scale_tasks.make(count)
    for each in tasks:
        each.delay()
    pids = _pids()
    # Which makes their consumers: once for each queue, and not for each run.
    with worker("scale_tasks.py", concurrency=100):
        _until_left(0)

    def delay_all() -> None:
        for number in range(_SAMPLE):
            tasks[number % count].delay()

    enqueued = _measured(pids, _SAMPLE, delay_all)
    with worker("scale_tasks.py", concurrency=100) as process:
        pids |= _pids(worker=process.pid)
        drained = _drained(pids, _SAMPLE // 10)
        _until_left(0)
        alone = {"server": bare}
        _row(f"{count:,}", [_cost([enqueued]), _cost([drained]), alone, _idle(pids)], pids)


def _workers(count: int) -> None:
    noop.delay()
    halves = [count - count // 2, count // 2]
    command = [sys.executable, str(HERE / "many_workers.py"), noop.queue]
    crowds = [
        subprocess.Popen([*command, str(half)], stdout=subprocess.PIPE) for half in halves if half
    ]
    try:
        for crowd in crowds:
            assert crowd.stdout is not None
            crowd.stdout.readline()  # which says that all consume
        _until_left(0)
        pids = _pids(**{f"worker {number}": crowd.pid for number, crowd in enumerate(crowds)})
        idle = _idle(pids)
        _pause(noop.queue)
        for _ in range(_SAMPLE // _CHUNK):
            noop.delay_many([()] * _CHUNK)
        _row(f"{count:,}", [_cost([_drained(pids, 0)]), idle], pids)
    finally:
        for crowd in crowds:
            crowd.terminate()
        for crowd in crowds:
            crowd.wait(timeout=60)


def _delay_singly() -> None:
    for _ in range(_SINGLE):
        noop.delay()


def _pids(**others: int) -> dict[str, int]:
    from jtask_nats.server.embedded import ensure_server

    return {"caller": os.getpid(), "server": ensure_server().pid or 0, **others}


def _measured(pids: Mapping[str, int], runs: int, do: Callable[[], object]) -> Spent:
    cpu, begun = _cpu(pids), time.perf_counter()
    do()
    return _since(cpu, begun, pids, runs)


def _drained(pids: Mapping[str, int], left: int) -> Spent:
    """Measure from when the workers have begun until so many runs are left."""
    asked = _cpu(pids), time.perf_counter(), _stored()
    _resume(noop.queue)
    until(lambda: _stored() < asked[2] - _BEGUN, timeout=_PATIENCE, pause=_LOOK)
    begun = _cpu(pids), time.perf_counter(), _stored()
    _until_left(left)
    now = _stored()
    # A server that is too busy to answer may tell of the begin when all is over.
    cpu, at, stored = begun if begun[2] > now else asked
    return _since(cpu, at, pids, stored - now)


def _cpu(pids: Mapping[str, int]) -> dict[str, float]:
    return {name: cpu_seconds(pid) for name, pid in pids.items()}


def _since(cpu: Mapping[str, float], begun: float, pids: Mapping[str, int], runs: int) -> Spent:
    wall, now = time.perf_counter() - begun, _cpu(pids)
    return Spent(runs, wall, {name: now[name] - cpu[name] for name in cpu})


def _cost(parts: list[Spent]) -> dict[str, float]:
    """Return microseconds for each run: by the clock, and of CPU of each kind of process."""
    runs = sum(part.runs for part in parts)
    found = {"wall": sum(part.wall for part in parts) * 1e6 / runs}
    for part in parts:
        for name, used in part.cpu.items():
            kind = name.split()[0]
            found[kind] = found.get(kind, 0.0) + used * 1e6 / runs
    return found


def _idle(pids: Mapping[str, int]) -> dict[str, float]:
    """Return milliseconds of CPU a second while nothing goes on."""
    rest = _measured(pids, round(_IDLE * 1e3), lambda: time.sleep(_IDLE))
    return {**_cost([rest]), "wall": 0.0}


def _until_left(count: int) -> None:
    until(lambda: _stored() <= count, timeout=_PATIENCE, pause=_LOOK)


def _stored() -> int:
    """Count the runs that wait or are executed, in all streams that hold some."""
    from jtask.client import get_client

    client = get_client()
    return client.io.run(_messages(client.broker))


async def _messages(broker: Any) -> int:
    topology = broker._topology
    await topology.ensure_runs()
    # The server may be busy for long: it makes a thousand consumers one after the other.
    infos = [
        await broker._connection.api(f"STREAM.INFO.{name}", timeout=_PATIENCE)
        for name in topology.run_streams.names
    ]
    return sum(int(info["state"]["messages"]) for info in infos)


def _pause(queue: str) -> None:
    from jtask.client import get_client

    client = get_client()
    client.io.run(client.broker.queues.pause(queue))


def _resume(queue: str) -> None:
    from jtask.client import get_client

    client = get_client()
    client.io.run(client.broker.queues.resume(queue))


def _head(what: str, *columns: str) -> None:
    print(f"\n{what:>10}  " + "".join(f"{name:^32}" for name in columns) + "memory, MiB")
    parts = "    wall  caller  server worker "
    print(" " * 12 + parts * len(columns) + "server worker caller", flush=True)


def _row(name: str, costs: list[dict[str, float]], pids: Mapping[str, int]) -> None:
    shown = "".join(
        "".join(f"{cost.get(kind, 0.0):8.1f}" for kind in ("wall", "caller", "server", "worker"))
        for cost in costs
    )
    memory = dict.fromkeys(("server", "worker", "caller"), 0.0)
    for process, pid in pids.items():
        memory[process.split()[0]] += resident(pid)
    print(f"{name:>10}  {shown}  " + "".join(f"{one:7.0f}" for one in memory.values()), flush=True)
