"""What a limit costs: how near to its ideal it comes, and how soon a run starts that waited."""

import time

from harness import percentile, show, worker
from limited_tasks import FEW, LONG, MANY, SHORT, long, short

from jtask import Task

_RUNS = 1000


def limits() -> None:
    """1,000 runs under a limit on four worker processes, short ones and longer ones."""
    _measure(short, FEW, SHORT)
    _measure(long, MANY, LONG)


def _measure(limited: Task[[], None], limit: int, seconds: float) -> None:
    with worker(f"limited_tasks.py:{limited.name}", concurrency=limit, processes=4):
        limited.delay().result(timeout=30)
        begun = time.perf_counter()
        runs = limited.delay_many([()] * _RUNS)
        for run in runs:
            run.result(timeout=120)
        took = time.perf_counter() - begun
    show(
        f"runs of {seconds * 1e3:.0f} ms under a limit of {limit}",
        _RUNS / took,
        "runs/s",
        bound=limit / seconds,
        goal="ratio >= 0.8",
    )
    _show_gaps(sorted((run.start_time or 0.0, run.end_time or 0.0) for run in runs), limit)


def _show_gaps(spans: list[tuple[float, float]], limit: int) -> None:
    """Show how long slots stood free: the nth start after the first ones follows the nth end."""
    ends = sorted(end for _, end in spans)
    late = [start - end for (start, _), end in zip(spans[limit:], ends, strict=False)]
    if min(late, default=0.0) < -0.001:
        raise AssertionError("the limit was exceeded")
    show(
        "  a run that waited starts after a slot is freed, median",
        percentile(late, 0.5) * 1e3,
        "ms",
        goal="<= 50",
    )
    show("  p95", percentile(late, 0.95) * 1e3, "ms")
