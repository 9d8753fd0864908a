"""Rows of text in columns."""

from collections.abc import Sequence

import click


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their heads, each column as wide as it must be."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def local_time(instant: float) -> str:
    """Return an instant as people of this place write it, to the second."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant))
