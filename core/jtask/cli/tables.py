"""Rows of text in columns."""

from collections.abc import Sequence

from jtask.cli.output import say
from jtask.foreign_text import cut, shown

_GAP = "  "
_PAGE = 80  # characters
_CELL = 500  # characters


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], narrow: int | None = None
) -> None:
    """Print rows below their heads, each column as wide as it must be.

    Args:
        heads: One for each column.
        rows: A cell for each column.
        narrow: A column that is only as wide as leaves the table 80 characters wide; rows that
            cannot fit stick out.
    """
    lines = [heads, *([shown(cut(cell, _CELL)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    if narrow is not None:
        widths[narrow] = _narrowed(lines, widths, narrow)
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        say(_GAP.join(cells).rstrip())


def _narrowed(lines: Sequence[Sequence[str]], widths: Sequence[int], column: int) -> int:
    # The last column is not padded: what a row needs for it is what the row has in it.
    fixed = len(_GAP) * (len(widths) - 1) + sum(widths[:-1]) - widths[column]
    rooms = [(_PAGE - fixed - len(line[-1]), len(line[column])) for line in lines]
    return min([widths[column], *(room for room, needed in rooms if needed <= room)])


def local_time(instant: float) -> str:
    """Return an instant as people of this place write it, to the second."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant))
