"""How late delayed runs start, alone and among 100,000 that wait."""

import random
import time

from bench_tasks import noop
from harness import percentile, resident, show, worker

PENDING = 100_000
_RUNS = 200
_SPREAD = (0.05, 3.0)  # seconds from now


def delays() -> None:
    """200 runs at random times of the next three seconds, on an otherwise idle system."""
    with worker("bench_tasks.py:noop", concurrency=10):
        noop.delay().result(timeout=30)
        _show_lateness("")


def pending() -> None:
    """100,000 runs delayed by an hour: their cost, and how late others start meanwhile."""
    from jtask_nats.server.embedded import ensure_server

    noop.delay_many([()])
    server = ensure_server().pid
    before = resident(server)
    later = noop.with_options(delay=3600)
    begun = time.perf_counter()
    for _ in range(PENDING // 10_000):
        later.delay_many([()] * 10_000)
    took = time.perf_counter() - begun
    show(f"enqueue {PENDING:,} runs delayed by an hour", took, "s")
    show("  as a rate", PENDING / took, "runs/s")
    show("  server, resident, more than before", resident(server) - before, "MiB")
    with worker("bench_tasks.py:noop", concurrency=10) as process:
        noop.delay().result(timeout=30)
        show("  worker, resident", resident(process.pid), "MiB")
        _show_lateness(f" beside {PENDING:,}")


def _show_lateness(beside: str) -> None:
    instants = [time.time() + random.uniform(*_SPREAD) for _ in range(_RUNS)]
    stored = [(noop.apply_async(eta=at), time.time()) for at in instants]
    late: list[float] = []
    for (run, since), at in zip(stored, instants, strict=True):
        run.result(timeout=60)
        started = run.start_time or 0.0
        if started < at:
            raise AssertionError(f"a run started {at - started:.4f} s early")
        late.append(max(0.0, started - max(at, since)) * 1e3)
    for share, goal in ((0.5, ""), (0.95, ""), (0.99, "goal <= 5, aim 2")):
        name = f"delayed runs{beside} start late, p{share * 100:.0f}"
        show(name, percentile(late, share), "ms", goal=goal)
