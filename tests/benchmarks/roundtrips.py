"""`delay()` to `result()`, one run at a time on an idle system, beside two bounds."""

import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import exchanges
from bench_tasks import noop, noop_sync
from bounds import run
from harness import HERE, percentile, raw_connection, show, worker

from jtask import Task

_ROUNDS = 7  # of which the median counts
_COUNT = 150  # round trips in each
_PAUSE = 0.002  # seconds between two, in which everything comes to rest
_SHARES = (0.5, 0.95, 0.99)
_NAMES = (
    "bare sockets",
    "nats-py in a loop",
    "delay().result()",
    "delay().result() of a plain function",
    "await (await adelay())",
)

Figures = tuple[float, ...]
"""The percentiles of one round, in seconds."""


def roundtrip() -> None:
    """By a thread and by a coroutine, for a coroutine function and a plain one."""
    run(exchanges.make_streams())
    targets = ("bench_tasks.py:noop", "bench_tasks.py:noop_sync")
    with worker(*targets, concurrency=10), _answering("socket"), _answering("nats"):
        for task in (noop, noop_sync):
            task.delay().result(timeout=30)
        run(_measure())


async def _measure() -> None:
    nc = await raw_connection()
    socket, loop = exchanges.SocketCaller(), await exchanges.NatsCaller(nc).open()
    rounds: list[dict[str, Figures]] = []
    for _ in range(_ROUNDS + 1):
        of_sockets = await asyncio.to_thread(socket.exchange, _COUNT, _PAUSE)
        of_nats = await loop.exchange(_COUNT, _PAUSE)
        async_by_thread = await asyncio.to_thread(_by_thread, noop)
        plain_by_thread = await asyncio.to_thread(_by_thread, noop_sync)
        async_by_loop = await _by_coroutine(noop)
        times = (of_sockets, of_nats, async_by_thread, plain_by_thread, async_by_loop)
        rounds.append(dict(zip(_NAMES, map(_figures, times), strict=True)))
    await nc.close()
    _show(rounds[1:])  # the first warms up


def _show(rounds: list[dict[str, Figures]]) -> None:
    medians = {
        name: [
            statistics.median(column) for column in zip(*(one[name] for one in rounds), strict=True)
        ]
        for name in _NAMES
    }
    for bound, goal in (("nats-py in a loop", "goal p50 <= 1.3"), ("bare sockets", "")):
        print(f"beside {bound}:")
        for name in _NAMES[2:]:
            for share, ours, least in zip(_SHARES, medians[name], medians[bound], strict=True):
                title = f"  {name}, p{share * 100:.0f}"
                show(title, ours * 1e3, "ms", least * 1e3, goal if share == _SHARES[0] else "")


def _by_thread(task: Task[[], None]) -> list[float]:
    times: list[float] = []
    for _ in range(_COUNT):
        begun = time.perf_counter()
        task.delay().result(timeout=30)
        times.append(time.perf_counter() - begun)
        time.sleep(_PAUSE)
    return times


async def _by_coroutine(task: Task[[], None]) -> list[float]:
    times: list[float] = []
    for _ in range(_COUNT):
        begun = time.perf_counter()
        await (await task.adelay())
        times.append(time.perf_counter() - begun)
        await asyncio.sleep(_PAUSE)
    return times


def _figures(times: list[float]) -> Figures:
    return tuple(percentile(times, share) for share in _SHARES)


@contextlib.contextmanager
def _answering(kind: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, str(HERE / "exchanges.py"), kind])
    try:
        yield
    finally:
        process.terminate()
        process.wait()
