"""Measure jtask beside bare nats-py in the same run: `python tests/benchmarks/run.py [NAME ...]`.

Names: direct, import, memory, enqueue, bulk, drain, processes, plugins, roundtrip, naps, delays,
pending, limits, priorities, fairness, otel, submit, gather, index, scale (or one of its parts:
scale-queued, scale-queues, scale-workers). Without a name, all of them.
"""

import asyncio
import contextlib
import json
import operator
import os
import statistics
import subprocess
import sys
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import bounds
import composing
import delayed
import draining
import fairness
import indexing
import limits
import priorities
import roundtrips
import scale
import tracing
from bench_tasks import echo, nap, noop, noop_sync
from harness import (
    HERE,
    cpu_seconds,
    own_server,
    raw_connection,
    resident,
    share_of_memory,
    show,
    until,
    worker,
)

import jtask
from jtask import Task

RUNS = 20_000
_ROUNDS = 7  # of which the median counts


def direct() -> None:
    """A direct call of a no-op task, no broker configured."""
    noop_sync()
    calls = 20_000
    task = min(timeit.repeat(noop_sync, number=calls, repeat=3)) / calls
    bare = min(timeit.repeat(noop_sync.fn, number=calls, repeat=3)) / calls
    show("direct call over the function itself", (task - bare) * 1e6, "us", goal="goal <= 30")


def import_time() -> None:
    """What a program that declares tasks imports, over an empty interpreter."""
    with_jtask = _best_of(7, "from jtask import task")
    empty = _best_of(7, "pass")
    show("from jtask import task", (with_jtask - empty) * 1e3, "ms", goal="goal <= 150")


def memory() -> None:
    """Memory of an idle worker: of each page its share (PSS), for what several processes have.

    This process is one of them. Of a worker that is the only Python of its machine the share is
    nearly all that it has (RSS).
    """
    jtask.connect()  # starts the server, which else the worker would
    with worker("bench_tasks.py:noop", concurrency=10) as process:
        time.sleep(4)  # an idle system has no condition to wait for
        show("idle worker", sum(_shares_of_memory(process.pid)), "MiB", goal="goal <= 45")
        show("  all that it shares counted as its own", resident(process.pid), "MiB")
        noop.delay().result(timeout=60)
        time.sleep(1)
        after, *guard = _shares_of_memory(process.pid)
        show("  after a run", after, "MiB")
        show("  and its lease guard, for a minute", sum(guard), "MiB")


def enqueue() -> None:
    """One run after another, from synchronous and from asynchronous code; and 100 at once."""
    _output("publish", 1)  # makes the bound's stream
    _enqueue_by_thread(2_000)
    asyncio.run(_enqueue_on_loop(1_000))


def _enqueue_by_thread(count: int) -> None:
    bare = bounds.BlockingSocket()

    def delay() -> float:
        begun = time.perf_counter()
        for _ in range(count):
            noop.delay()
        return count / (time.perf_counter() - begun)

    delay()
    rates = [(delay(), bare.rate(count)) for _ in range(_ROUNDS)]
    bare.close()
    _show_medians("delay(), one thread, one by one", rates, "goal >= 0.5 of a socket")


async def _enqueue_on_loop(count: int) -> None:
    nc = await raw_connection()
    bare = bounds.InLoop(nc)

    async def one_by_one() -> float:
        begun = time.perf_counter()
        for _ in range(count):
            await noop.adelay()
        return count / (time.perf_counter() - begun)

    async def at_once() -> float:
        begun = time.perf_counter()
        for _ in range(count // 100):
            await asyncio.gather(*(noop.adelay() for _ in range(100)))
        return count / (time.perf_counter() - begun)

    await one_by_one()
    rates = [(await one_by_one(), await bare.one_by_one(count)) for _ in range(_ROUNDS)]
    _show_medians("adelay(), one by one", rates, "goal >= 1.0 of nats-py in the loop")
    rates = [(await at_once(), await bare.at_once(100)) for _ in range(_ROUNDS)]
    _show_medians("adelay(), 100 at once", rates, "goal >= 0.7 of nats-py in the loop")
    await nc.close()


def _show_medians(name: str, rates: list[tuple[float, float]], goal: str) -> None:
    ours, bound = (statistics.median(column) for column in zip(*rates, strict=True))
    show(name, ours, "runs/s", bound, goal)


def bulk() -> None:
    """Many runs at once."""
    from jtask_nats.server.embedded import ensure_server

    count = 50_000
    noop.delay()
    calls = [("hello", number) for number in range(count)]
    asyncio.run(bounds.make_batch_stream())
    bare = bounds.BlockingSocket()

    server = ensure_server().pid or 0

    def spent(do: Callable[[], object]) -> tuple[float, float, float]:
        """Return seconds by the clock, and of CPU time of this process and of the server."""
        begun = time.perf_counter(), time.process_time(), cpu_seconds(server)
        do()
        now = time.perf_counter(), time.process_time(), cpu_seconds(server)
        return tuple(map(operator.sub, now, begun))  # type: ignore[return-value]

    def ours() -> tuple[float, float, float]:
        return spent(lambda: echo.delay_many(calls))

    def bound() -> tuple[float, float, float]:
        return spent(lambda: bare.batch_rate(count))

    ours()
    rounds = [(ours(), bound()) for _ in range(_ROUNDS)]
    bare.close()
    rates = [(count / mine[0], count / other[0]) for mine, other in rounds]
    _show_medians("delay_many()", rates, "goal >= 0.9 of bare atomic batches")
    for place, of in enumerate(("caller", "server"), 1):
        costs = [(mine[place], other[place]) for mine, other in rounds]
        mine, other = (
            statistics.median(column) * 1e6 / count for column in zip(*costs, strict=True)
        )
        show(f"  CPU time of the {of} for each run", mine, "us", other)


def drain() -> None:
    """Runs that wait already, executed by one worker process."""
    _drain_task("noop", noop, concurrency=100)
    _drain_task("noop_sync", noop_sync, concurrency=10)


def plugins() -> None:
    """Drains by workers with all plugins and with none."""
    _drain_with_plugins("noop", noop, concurrency=100)
    _drain_with_plugins("noop_sync", noop_sync, concurrency=10)


def naps() -> None:
    """2,000 sleeps of 50 ms at concurrency 100: 1.0 s if nothing else took time."""
    runs = nap.delay_many([(0.05,)] * 2_000)
    with worker("bench_tasks.py:nap", concurrency=100):
        for run in runs:
            run.wait(timeout=60)
    infos = [info for run in runs if (info := run.info) and info.started]
    first = min(info.started or 0.0 for info in infos)
    last = max(info.ended for info in infos)
    show("2,000 sleeps of 50 ms at concurrency 100", last - first, "s", 1.0, "goal <= 1.1")


def _drain_task(name: str, task: Task[[], None], concurrency: int) -> None:
    def bound() -> float:
        return draining.bare_rate(RUNS, 1, concurrency)

    best, bound_of = _best_in_turn(lambda: _drain_rate(name, task, concurrency), bound)
    show(f"drain of {RUNS:,}, {name}", best, "runs/s", bound_of, "goal >= 0.5")


def _drain_with_plugins(name: str, task: Task[[], None], concurrency: int) -> None:
    def rate(loaded: str | None) -> float:
        with _plugins(loaded):
            return _drain_rate(name, task, concurrency)

    best, bare = _best_in_turn(lambda: rate(None), lambda: rate(""))
    shown = f"drain of {RUNS:,}, {name}, all plugins beside none"
    show(shown, best, "runs/s", bare, "goal >= 0.9")


def _drain_rate(name: str, task: Task[[], None], concurrency: int) -> float:
    from jtask.client import get_client

    client = get_client()
    runs = task.delay_many([()] * RUNS)

    def empty() -> bool:
        return client.io.run(client.broker.queues.depth(task.queue)) == 0

    with worker(f"bench_tasks.py:{name}", concurrency=concurrency):
        end = until(empty)
    sample = [client.handle(run.run_id) for run in runs[:500]]
    first = min(run.start_time or end for run in sample if run.wait(timeout=30))
    return RUNS / (end - first)


@contextlib.contextmanager
def _plugins(names: str | None) -> Iterator[None]:
    """Say which plugins the processes started in the block load; None is all."""
    if names is not None:
        os.environ["JTASK_PLUGINS"] = names
    try:
        yield
    finally:
        os.environ.pop("JTASK_PLUGINS", None)


def _best_in_turn(*measures: Callable[[], float]) -> list[float]:
    """Measure in turn and return the best of each: what else goes on only ever takes away."""
    rounds = [[measure() for measure in measures] for _ in range(3)]
    return [max(found) for found in zip(*rounds, strict=True)]


def _bound(name: str, *arguments: int) -> float:
    return float(_output(name, *arguments))


def _output(name: str, *arguments: int) -> Any:
    command = [sys.executable, str(HERE / "bounds.py"), name, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def _best_of(times: int, code: str) -> float:
    def once() -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - begun

    return min(once() for _ in range(times))


def _shares_of_memory(pid: int) -> list[float]:
    return [share_of_memory(process) for process in (pid, *_children(pid))]


def _children(pid: int) -> list[int]:
    # Of each thread: any of them may have started one.
    listed = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for children in listed for child in children]


def index() -> None:
    """Events into the index, and questions to one of ten million runs."""
    indexing.writing()
    indexing.reading()


BENCHMARKS: dict[str, Callable[[], None]] = {
    "direct": direct,
    "import": import_time,
    "memory": memory,
    "enqueue": enqueue,
    "bulk": bulk,
    "drain": drain,
    "processes": draining.processes,
    "plugins": plugins,
    "roundtrip": roundtrips.roundtrip,
    "naps": naps,
    "delays": delayed.delays,
    "pending": delayed.pending,
    "limits": limits.limits,
    "priorities": priorities.priorities,
    "fairness": fairness.fairness,
    "otel": tracing.otel,
    "submit": composing.submit,
    "gather": composing.gather,
    "index": index,
    "scale-queued": scale.queued,
    "scale-queues": scale.queues,
    "scale-workers": scale.workers,
}


def main() -> None:
    """Run the named benchmarks, each on a server of its own."""
    chosen = sys.argv[1:] or list(BENCHMARKS)
    if "scale" in chosen:
        chosen.remove("scale")
        chosen += [name for name in BENCHMARKS if name.startswith("scale-")]
    if unknown := set(chosen) - set(BENCHMARKS):
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    for name in chosen:
        with own_server():
            BENCHMARKS[name]()


if __name__ == "__main__":
    main()
