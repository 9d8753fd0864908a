"""Many runs beside their caller, and one process that waits for many runs in the background."""

import os
import time

from bench_tasks import echo, echo_sync, noop
from harness import resident, show, worker

from jtask.futures import FutureList, as_completed
from jtask.task_runners import AsyncioTaskRunner

_RUNS = 10_000


def submit() -> None:
    """A map of 10,000 in this process, in threads and on a loop; nested runs; a chain."""
    echo_sync.submit(0).result()
    before = resident(os.getpid())
    begun = time.perf_counter()
    futures = echo_sync.map(range(_RUNS))
    submitted = time.perf_counter() - begun
    futures.result()
    taken = time.perf_counter() - begun
    show("map of 10,000 in threads", taken, "s")
    show("  until map() returns", submitted, "s")
    show("  its memory", resident(os.getpid()) - before, "MiB")
    del futures
    begun = time.perf_counter()
    with AsyncioTaskRunner():
        echo.map(map(str, range(_RUNS))).result()
    show("map of 10,000 on a loop", time.perf_counter() - begun, "s")
    begun = time.perf_counter()
    future = echo_sync.submit(0)
    for _ in range(1_000):
        future = echo_sync.submit(future)
    future.result()
    show("chain of 1,000 in threads", time.perf_counter() - begun, "s")


def gather() -> None:
    """One process waits for 10,000 runs in the background."""
    with worker("bench_tasks.py:noop", concurrency=100):
        noop.delay().result(timeout=30)
        before = resident(os.getpid())
        begun = time.perf_counter()
        futures = FutureList(noop.delay_many([()] * _RUNS))
        stored = time.perf_counter() - begun
        for _ in as_completed(futures, timeout=120):
            pass
        show("10,000 runs in the background, all ends", time.perf_counter() - begun, "s")
        show("  until they are stored", stored, "s")
        show("  memory of who waits", resident(os.getpid()) - before, "MiB")
