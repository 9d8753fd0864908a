"""Show the progress of a demo on stderr: a live bar on a terminal, else lines."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

_QUARTERS = 4


class Progress(Protocol):
    """What is told how the demo goes."""

    def say(self, sentence: str) -> None:
        """Show what has happened."""
        ...

    def advance(self, ended: int, runs: int) -> None:
        """Show how many of the runs have ended."""
        ...


@contextmanager
def show_progress(*, plain: bool) -> Generator[Progress]:
    """Show progress on stderr while the context lasts.

    Args:
        plain: Lines even on a terminal.
    """
    console = Console(stderr=True)
    if plain or not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with RichProgress(*columns, console=console) as bar:
        yield _Bar(bar)


class _Bar:
    """A live bar, with the sentences above it."""

    def __init__(self, bar: RichProgress) -> None:
        self._bar = bar
        self._id = bar.add_task("runs", total=None)

    def say(self, sentence: str) -> None:
        self._bar.console.print(sentence, highlight=False, soft_wrap=True)

    def advance(self, ended: int, runs: int) -> None:
        self._bar.update(self._id, completed=ended, total=runs)


class _Lines:
    """Plain lines, for logs and pipes: one at each quarter of the runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed = 0

    def say(self, sentence: str) -> None:
        self._console.print(sentence, highlight=False, soft_wrap=True)

    def advance(self, ended: int, runs: int) -> None:
        quarter = ended * _QUARTERS // runs
        if quarter > self._printed:
            self._printed = quarter
            self.say(f"{ended} of {runs} runs are done")
