"""The runs around a run: those that led to it, and those that it has called or enqueued."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from jtask.run_summaries import RunSummary
from jtask_index.reader import IndexReader

_ANCESTORS = 4
_CHILDREN = 12
_WIDTH, _HEIGHT, _ACROSS, _DOWN = 190, 38, 240, 50  # of a box, and from one to the next


@dataclass(frozen=True, slots=True)
class Box:
    """A run in the drawing; lengths in pixels."""

    run: RunSummary
    x: int
    y: int
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """A drawing of the runs around a run, from left to right.

    Attributes:
        boxes: The runs.
        lines: From each run to those that it led to, as SVG paths.
        width: Of the drawing, in pixels.
        height: Likewise.
        has_more: Whether children are left out.
    """

    boxes: Sequence[Box]
    lines: Sequence[str]
    width: int
    height: int
    has_more: bool


def family_of(index: IndexReader, run: RunSummary) -> Family | None:
    """Return the runs around a run; None when it is alone."""
    ancestors = _ancestors(index, run)
    page = index.children(run.run_id, limit=_CHILDREN)
    if not ancestors and not page.runs:
        return None
    return draw(ancestors, run, page.runs[::-1], has_more=page.after is not None)


def draw(
    ancestors: Sequence[RunSummary],
    run: RunSummary,
    children: Sequence[RunSummary],
    *,
    has_more: bool,
) -> Family:
    """Place the runs around a run: decisions only.

    Args:
        ancestors: Those that led to it, the first one first.
        run: The run.
        children: Those that it led to.
        has_more: Whether there are more of them.
    """
    rows = max(1, len(children))
    middle = (rows - 1) * _DOWN // 2
    line = [*ancestors, run]
    boxes = [Box(one, n * _ACROSS, middle, one is run) for n, one in enumerate(line)]
    here = boxes[-1]
    below = [Box(one, here.x + _ACROSS, n * _DOWN) for n, one in enumerate(children)]
    pairs = [*pairwise(boxes), *((here, box) for box in below)]
    width = (len(line) + bool(below)) * _ACROSS - (_ACROSS - _WIDTH)
    return Family(
        [*boxes, *below],
        [_path(a, b) for a, b in pairs],
        width + 4,
        (rows - 1) * _DOWN + _HEIGHT + 4,
        has_more=has_more,
    )


def _ancestors(index: IndexReader, run: RunSummary) -> list[RunSummary]:
    found: list[RunSummary] = []
    while run.parent and len(found) < _ANCESTORS:
        parent = index.run(run.parent)
        if parent is None:
            break
        found.append(run := parent)
    return found[::-1]


def _path(a: Box, b: Box) -> str:
    x1, y1, x2, y2 = a.x + _WIDTH, a.y + _HEIGHT // 2, b.x, b.y + _HEIGHT // 2
    bend = (x1 + x2) // 2
    return f"M{x1} {y1}C{bend} {y1} {bend} {y2} {x2} {y2}"
