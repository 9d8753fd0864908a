"""Rows as lines of text with bars, in the width that there is: no I/O."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from jtask.cli.trace.rows import Row
from jtask.cli.trace.timeline import Phase, PhaseKind
from jtask.durations import describe_seconds
from jtask.foreign_text import shown
from jtask.states import SUCCESSFUL, StateName

Part = tuple[str, str | None]
"""Text and its colour, by the names that click knows; None for that of the terminal."""

_GAP = "  "
_NARROWEST = 10  # characters of a bar
_LABEL_SHARE = 0.3  # of the width at most
_UNBROKEN = {"│": "|", "├": "|", "└": "`"}
_COLOURS = {StateName.RUNNING: "cyan", "handed back": "yellow", "many": None}


@dataclass(frozen=True, slots=True)
class Pen:
    """What to draw with.

    Attributes:
        width: Characters of a line.
        is_plain: Whether there is ASCII only.
    """

    width: int
    is_plain: bool = False

    def glyph(self, kind: PhaseKind) -> str:
        """Return the character for a moment of a phase."""
        return _GLYPHS[kind][self.is_plain]

    def length(self, seconds: float) -> str:
        """Return a length of time."""
        text = describe_seconds(seconds)
        return text.replace("µ", "u") if self.is_plain else text

    def stem(self, text: str) -> str:
        """Return the lines of a tree."""
        return "".join(_UNBROKEN.get(one, one) for one in text) if self.is_plain else text


_GLYPHS = {
    PhaseKind.EXECUTING: "█#",
    PhaseKind.PENDING: "▒+",
    PhaseKind.QUEUED: "·.",
    PhaseKind.PARKED: "░~",
    PhaseKind.DELAYED: "╌-",
    PhaseKind.PAUSED: "╌-",
}
_LEGEND = (
    (PhaseKind.EXECUTING, "executes"),
    (PhaseKind.QUEUED, "queued"),
    (PhaseKind.PENDING, "waits for a slot"),
    (PhaseKind.PARKED, "parked"),
    (PhaseKind.DELAYED, "waits for its time"),
)


def draw(rows: Iterable[Row], begin: float, end: float, pen: Pen) -> Iterator[Sequence[Part]]:
    """Yield the lines of a waterfall.

    Args:
        rows: From top to bottom.
        begin: The left end of the bars, seconds since the epoch.
        end: The right end.
        pen: What to draw with.
    """
    rows = list(rows)
    names = _letters(row.worker for row in rows)
    lines = [_cells(row, names, pen) for row in rows]
    heads = ["RUN", "STATE", "WAITED", "TOOK", "W"]
    widths = [max(len(line[n]) for line in [heads, *lines]) for n in range(len(heads))]
    widths[0] = min(widths[0], max(len(heads[0]), int(pen.width * _LABEL_SHARE)))
    room = pen.width - sum(widths) - len(_GAP) * len(widths)
    scale = _Scale(begin, max(end - begin, 1e-6), max(room, _NARROWEST))
    yield [(f"{_joined(heads, widths)}{_GAP}{scale.axis(pen)}".rstrip(), None)]
    for row, line in zip(rows, lines, strict=True):
        bar = list(scale.bar(row.phases, pen))
        cells = _joined(line, widths)
        yield [(cells + _GAP, None), *bar] if bar else [(cells.rstrip(), None)]
        if row.remark:
            remark = f"{pen.stem(row.below)}  {shown(row.remark)}"
            yield [(_cut(remark, pen.width), None)]
    yield [("", None)]
    yield [(_GAP.join(f"{pen.glyph(kind)} {text}" for kind, text in _LEGEND), None)]
    yield from ([(f"{letter}{_GAP}{shown(name)}", None)] for name, letter in names.items())


class _Scale:
    """Where instants are in a bar."""

    def __init__(self, begin: float, seconds: float, width: int) -> None:
        self._begin = begin
        self._seconds = seconds
        self._width = width

    def axis(self, pen: Pen) -> str:
        marks = [pen.length(self._seconds * part) for part in (0.5, 1.0)]
        middle = "0".ljust(self._width // 2) + marks[0]
        line = middle.ljust(self._width - len(marks[1])) + marks[1]
        return line if len(middle) + len(marks[1]) < self._width else f"0 to {marks[1]}"

    def bar(self, phases: Sequence[Phase], pen: Pen) -> Iterator[Part]:
        cells: list[Part] = [(" ", None)] * self._width
        # Attempts last: the shortest one is seen beside the waits around it.
        for phase in sorted(phases, key=lambda phase: phase.executes):
            first, last = self._place(phase)
            for cell in range(first, last):
                cells[cell] = (pen.glyph(phase.kind), _colour(phase))
        used = max((n + 1 for n, (text, _) in enumerate(cells) if text != " "), default=0)
        for colour, same in groupby(cells[:used], key=lambda cell: cell[1]):
            yield "".join(text for text, _ in same), colour

    def _place(self, phase: Phase) -> tuple[int, int]:
        """Return the first cell and the one after the last; at least one, inside the bar."""
        per_cell = self._seconds / self._width
        first = int((phase.begin - self._begin) / per_cell)
        first = min(max(first, 0), self._width - 1)
        last = round((phase.end - self._begin) / per_cell)
        return first, min(max(last, first + 1), self._width)


def moment(at: float) -> str:
    """Return an instant as people of this place write it, to the millisecond."""
    seconds, milliseconds = divmod(round(at * 1000), 1000)
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))}.{milliseconds:03d}"


def _colour(phase: Phase) -> str | None:
    if not phase.executes:
        return "yellow" if phase.kind is PhaseKind.PARKED else None
    state = phase.end_state or StateName.RUNNING
    return "green" if state in SUCCESSFUL else _COLOURS.get(state, "red")


def _cells(row: Row, names: dict[str, str], pen: Pen) -> list[str]:
    return [
        pen.stem(row.stem) + shown(row.label),
        row.state,
        "" if row.waited is None else pen.length(row.waited),
        "" if row.took is None else pen.length(row.took),
        names.get(row.worker, ""),
    ]


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    fitted = (_cut(cell, width).ljust(width) for cell, width in zip(cells, widths, strict=True))
    return _GAP.join(fitted)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 3)]}..."


def _letters(workers: Iterable[str]) -> dict[str, str]:
    """Name the workers A to Z, then A1 and so on, in the order in which they come."""
    names: dict[str, str] = {}
    for worker in workers:
        if worker and worker not in names:
            round_, letter = divmod(len(names), 26)
            names[worker] = f"{chr(ord('A') + letter)}{round_ or ''}"
    return names
