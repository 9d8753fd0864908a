"""How the demo looks: progress on stderr, the findings on stdout."""

import json
from dataclasses import asdict
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from jtask_demo.findings import Crash, Findings
from jtask_demo.show import Audience

_QUARTERS = 4


class Bar(Audience):
    """A live bar, with the sentences above it.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("runs"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._bar: TaskID = self._progress.add_task("runs", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        self._progress.console.print(sentence, highlight=False, soft_wrap=True)

    def advance(self, ended: int, runs: int) -> None:
        """Move the bar."""
        self._progress.update(self._bar, completed=ended, total=runs)


class Lines(Audience):
    """Plain lines, for logs and pipes.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        self._console.print(sentence, highlight=False, soft_wrap=True)

    def advance(self, ended: int, runs: int) -> None:
        """Print a line at each quarter."""
        quarter = ended * _QUARTERS // runs
        if quarter > self._told:
            self._told = quarter
            self.say(f"{ended} of {runs} runs have ended")


def audience(*, plain: bool) -> Bar | Lines:
    """Return what shows the progress on stderr.

    Args:
        plain: Lines even on a terminal.
    """
    console = Console(stderr=True)
    return Lines(console) if plain or not console.is_terminal else Bar(console)


def print_json(found: Findings) -> None:
    """Print the findings as one JSON object."""
    facts = asdict(found) | {"runs_per_second": found.runs_per_second}
    Console(soft_wrap=True).out(json.dumps(facts), highlight=False)


def print_tables(found: Findings) -> None:
    """Print the findings for people."""
    console = Console()
    library = found.library
    console.print(
        f"\nThe standard library of Python {found.python}: {library.modules:,} modules, "
        f"{library.lines:,} lines, {library.code_lines:,} of them code, "
        f"{library.functions:,} functions, {library.classes:,} classes.\n",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_functions_table(found))
    console.print(_modules_table(found))
    for sentence in _what_happened(found):
        console.print(sentence, highlight=False, soft_wrap=True)
    console.print(_FURTHER, highlight=False)


def _functions_table(found: Findings) -> Table:
    table = Table("function", title="Most complex functions", title_justify="left")
    for column in ("complexity", "lines"):
        table.add_column(column, justify="right")
    for ranked in found.library.most_complex:
        facts = ranked.function
        name = f"{ranked.module}:{facts.name}"
        table.add_row(name, str(facts.complexity), str(facts.length))
    return table


def _modules_table(found: Findings) -> Table:
    table = Table("module", title="Longest modules", title_justify="left")
    for column in ("code lines", "functions", "classes"):
        table.add_column(column, justify="right")
    for facts in found.library.longest_modules:
        row = (facts.code_lines, facts.functions, facts.classes)
        table.add_row(facts.module, *(f"{count:,}" for count in row))
    return table


def _what_happened(found: Findings) -> list[str]:
    sentences = [
        f"{found.runs:,} runs stored in {found.enqueue_seconds:.2f} s, executed by "
        f"{found.workers} workers in {found.seconds:.1f} s: {found.runs_per_second:.0f} runs/s.",
        *([_of_crash(found.crash)] if found.crash else []),
        f"{found.lost} runs lost, {len(found.failed)} failed.",
    ]
    return [*sentences, *(f"  {name}: {error}" for name, error in found.failed)]


def _of_crash(crash: Crash) -> str:
    return (
        f"Worker {crash.pid} was killed (SIGKILL) in the middle of {crash.executing} runs. "
        f"{crash.begun_twice} runs were begun twice, by another worker once the lease had "
        f"passed; {crash.done_twice} were done twice (killed between doing and storing)."
    )


_FURTHER = """
Where to look further:
  jtask --help                 all commands
  jtask serve your_module      a worker for your own tasks
  docs/tutorial.md             from the first task to a deployed worker
  docs/concepts.md             what is promised, and how"""
