"""How soon a run of a high priority starts behind a backlog of a low one."""

import time

from bench_tasks import nap
from harness import percentile, show, worker

_BACKLOG = 100_000
_SAMPLES = 50
_SECONDS = 0.005


def priorities() -> None:
    """100,000 runs of priority 0 wait; then one of priority 9 is enqueued, many times over."""
    from jtask.client import get_client

    low = nap.delay_many([(_SECONDS,)] * _BACKLOG)
    high = nap.with_options(priority=9)
    waits: list[float] = []
    with worker("bench_tasks.py:nap", concurrency=10):
        low[0].result(timeout=60)
        for _ in range(_SAMPLES):
            begun = time.time()
            run = high.delay(_SECONDS)
            run.result(timeout=60)
            waits.append((run.start_time or 0.0) - begun)
        client = get_client()
        remaining: int = client.io.run(client.broker.queues.depth(nap.queue))
    if remaining < _BACKLOG // 4:
        raise AssertionError(f"only {remaining} runs of the backlog were left")
    show(
        f"priority 9 behind {_BACKLOG:,}: delay() to its start, p50",
        percentile(waits, 0.5) * 1e3,
        "ms",
        goal="<= 100",
    )
    show("  slowest", max(waits) * 1e3, "ms", goal="<= 100")
