"""What ended when, and how long it took, as shapes to be drawn: decisions only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jtask.states import SUCCESSFUL, StateName
from jtask_index.charts import Bucket

SPARK_HEIGHT = 16
WIDTH, HEIGHT = 600, 100  # of the drawing's own units; it is stretched to where it is shown
_GAP = 0.18  # of a bar's place
_CALM = frozenset({StateName.CANCELLED})


class Bar(NamedTuple):
    """Runs that ended in some minutes, in one way."""

    tone: str
    x: float
    y: float
    width: float
    height: float
    said: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, and what its axis says.

    Attributes:
        bars: From left to right.
        lines: By what they are called: the points of SVG polylines, one for each unbroken stretch.
        top: The value at the upper edge.
        start: The instant at the left edge, seconds since the epoch.
        end: The one at the right edge.
        total: The runs in all.
    """

    top: float
    start: float
    end: float
    total: int = 0
    bars: Sequence[Bar] = ()
    lines: Sequence[tuple[str, Sequence[str]]] = ()


def throughput(buckets: Sequence[Bucket]) -> Chart:
    """Draw how many runs ended, by how they ended."""
    top = nice(max((bucket.total for bucket in buckets), default=0))
    bars = [bar for n, bucket in enumerate(buckets) for bar in _stack(n, bucket, len(buckets), top)]
    total = sum(bucket.total for bucket in buckets)
    return Chart(top, *_span(buckets), total=total, bars=bars)


def latency(buckets: Sequence[Bucket]) -> Chart:
    """Draw how long half of the runs took at most, and 95 of 100."""
    shares = {"p95": 0.95, "p50": 0.5}
    values = {name: [one.percentile(share) for one in buckets] for name, share in shares.items()}
    top = nice(max((v for line in values.values() for v in line if v is not None), default=0))
    step = WIDTH / max(1, len(buckets))

    def point(n: int, value: float) -> str:
        return f"{(n + 0.5) * step:.1f},{HEIGHT - HEIGHT * value / top:.1f}"

    lines = [(name, _stretches(line, point)) for name, line in values.items()]
    return Chart(top, *_span(buckets), total=sum(one.total for one in buckets), lines=lines)


def sparkline(values: Sequence[float]) -> str:
    """Return the points of a small line, one unit wide for each value, whose top is the largest."""
    top = max(values, default=0) or 1
    # Half a unit from the edges, where the line's own width would be cut off.
    room = SPARK_HEIGHT - 1
    return " ".join(
        f"{n},{room - (room - 0.5) * value / top:.1f}" for n, value in enumerate(values)
    )


def tone_of_end(state: str) -> str:
    """Return which of three tones an end is drawn in."""
    name = StateName(state)
    if name in SUCCESSFUL:
        return "good"
    return "calm" if name in _CALM else "bad"


def nice(value: float) -> float:
    """Return a round number that is not smaller; 1 for nothing."""
    if value <= 0:
        return 1
    size = 1.0
    while size * 10 <= value:
        size *= 10
    while size > value:
        size /= 10
    return next(size * step for step in (1, 2, 5, 10) if size * step >= value)


def _span(buckets: Sequence[Bucket]) -> tuple[float, float]:
    if not buckets:
        return 0.0, 0.0
    return buckets[0].start, buckets[-1].start + buckets[-1].seconds


def _stack(n: int, bucket: Bucket, count: int, top: float) -> list[Bar]:
    place = WIDTH / count
    runs = {"good": 0, "calm": 0, "bad": 0}
    for state, number in bucket.runs.items():
        runs[tone_of_end(state)] += number
    said = ", ".join(f"{number} {state}" for state, number in sorted(bucket.runs.items()))
    bars: list[Bar] = []
    height = 0.0
    # Failures at the bottom, where the eye compares them from bar to bar.
    for tone in ("bad", "calm", "good"):
        if runs[tone]:
            part = max(0.8, HEIGHT * runs[tone] / top)
            height += part
            x, width = place * (n + _GAP / 2), place * (1 - _GAP)
            bars.append(
                Bar(tone, round(x, 2), round(HEIGHT - height, 2), round(width, 2), part, said)
            )
    return bars


def _stretches(values: Sequence[float | None], point: Callable[[int, float], str]) -> Sequence[str]:
    """Return a polyline for each stretch of values; one value alone is a short line."""
    found: list[list[str]] = [[]]
    for n, value in enumerate(values):
        if value is not None:
            found[-1].append(point(n, value))
        elif found[-1]:
            found.append([])
    return [" ".join(one if len(one) > 1 else one * 2) for one in found if one]
