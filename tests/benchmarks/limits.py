"""What a limit costs: how near to its ideal it comes, and how soon a run starts that waited."""

import time

from harness import percentile, show, worker
from limited_tasks import LIMIT, SECONDS, limited

_RUNS = 1000


def limits() -> None:
    """1,000 runs of 50 ms under a limit of 10, on four worker processes."""
    with worker("limited_tasks.py:limited", concurrency=10, processes=4):
        limited.delay().result(timeout=30)
        begun = time.perf_counter()
        runs = limited.delay_many([()] * _RUNS)
        for run in runs:
            run.result(timeout=120)
        took = time.perf_counter() - begun
    show(
        f"runs of {SECONDS * 1e3:.0f} ms under a limit of {LIMIT}",
        _RUNS / took,
        "runs/s",
        bound=LIMIT / SECONDS,
        goal="ratio >= 0.8",
    )
    spans = sorted((run.start_time or 0.0, run.end_time or 0.0) for run in runs)
    _show_gaps(spans)


def _show_gaps(spans: list[tuple[float, float]]) -> None:
    """Show how long slots stood free: the nth start after the first ones follows the nth end."""
    ends = sorted(end for _, end in spans)
    late = [start - end for (start, _), end in zip(spans[LIMIT:], ends, strict=False)]
    if min(late, default=0.0) < -0.001:
        raise AssertionError("the limit was exceeded")
    show(
        "a run that waited starts after a slot is freed, median",
        percentile(late, 0.5) * 1e3,
        "ms",
        goal="<= 50",
    )
    show("  p95", percentile(late, 0.95) * 1e3, "ms")
