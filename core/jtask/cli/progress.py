"""How far a command is that takes long, for whoever looks at a terminal."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import click

Tell = Callable[[int, int], None]
"""Told how much is done, of how much."""


@contextmanager
def progress_bar(label: str) -> Generator[Tell]:
    """Show a bar on stderr, where that is a terminal.

    Args:
        label: What is done.
    """
    if not sys.stderr.isatty():
        yield _say_nothing
        return
    with click.progressbar(length=1, label=label, file=sys.stderr) as bar:

        def tell(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        yield tell


def _say_nothing(done: int, total: int) -> None:
    del done, total
