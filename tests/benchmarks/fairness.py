"""How soon the one run of a tenant starts behind another tenant's flood."""

import time

from fair_tasks import convert
from harness import percentile, show, worker

_FLOOD = 50_000
_WINDOW = 100  # the default of JTASK_FAIR_WINDOW
_SAMPLES = 30
_SECONDS = 0.005


def fairness() -> None:
    """One tenant sends 50,000 runs; then others send one each, one after the other."""
    from jtask.client import get_client

    flood = convert.delay_many([("flood", _SECONDS)] * _FLOOD)
    client = get_client()
    waits: list[float] = []
    with worker("fair_tasks.py:convert", concurrency=10):
        flood[0].result(timeout=60)
        for number in range(_SAMPLES):
            begun = time.time()
            run = convert.delay(f"tenant {number}", _SECONDS)
            run.result(timeout=60)
            waits.append((run.start_time or 0.0) - begun)
        left: int = client.io.run(client.broker.runs.parked("fair-" + _key(convert.queue)))
    if left < _FLOOD // 2:
        raise AssertionError(f"only {left} runs of the flood were left")
    show(
        f"one run behind a flood of {_FLOOD:,}: delay() to its start, p50",
        percentile(waits, 0.5) * 1e3,
        "ms",
        goal=f"<= {_WINDOW} starts: {_WINDOW * _SECONDS / 10 * 1e3:.0f} ms of work",
    )
    show("  slowest", max(waits) * 1e3, "ms")


def _key(queue: str) -> str:
    """Return how the key of the flood's runs goes on (docs/wire-format.md)."""
    return f"{queue[:40]}-{queue}:flood"
