"""Print the report of a demo on stdout, for people or programs."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from jtask_demo.report import Crash, Report


def print_json(report: Report) -> None:
    """Print the report as one JSON object."""
    facts = asdict(report) | {"runs_per_second": report.runs_per_second}
    Console(soft_wrap=True).out(json.dumps(facts), highlight=False)


def print_tables(report: Report) -> None:
    """Print the report for people."""
    console = Console()
    library = report.library
    console.print(
        f"\nThe standard library of Python {report.python}: {library.modules:,} modules, "
        f"{library.lines:,} lines, {library.code_lines:,} of them code, "
        f"{library.functions:,} functions, {library.classes:,} classes.\n",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_functions_table(report))
    console.print(_modules_table(report))
    for sentence in _what_happened(report):
        console.print(sentence, highlight=False, soft_wrap=True)
    console.print(_FURTHER, highlight=False)


def _functions_table(report: Report) -> Table:
    table = Table("function", title="Most complex functions", title_justify="left")
    for column in ("complexity", "lines"):
        table.add_column(column, justify="right")
    for ranked in report.library.most_complex:
        facts = ranked.function
        name = f"{ranked.module}:{facts.name}"
        table.add_row(name, str(facts.complexity), str(facts.length))
    return table


def _modules_table(report: Report) -> Table:
    table = Table("module", title="Longest modules", title_justify="left")
    for column in ("code lines", "functions", "classes"):
        table.add_column(column, justify="right")
    for facts in report.library.longest_modules:
        row = (facts.code_lines, facts.functions, facts.classes)
        table.add_row(facts.module, *(f"{count:,}" for count in row))
    return table


def _what_happened(report: Report) -> list[str]:
    sentences = [
        f"{report.runs:,} runs stored in {report.enqueue_seconds:.2f} s, executed by "
        f"{report.workers} workers in {report.seconds:.1f} s: {report.runs_per_second:.0f} runs/s.",
        *([_of_crash(report.crash)] if report.crash else []),
        f"{report.lost} runs lost, {len(report.failed)} failed.",
    ]
    return [*sentences, *(f"  {name}: {error}" for name, error in report.failed)]


def _of_crash(crash: Crash) -> str:
    return (
        f"Worker {crash.pid} was killed (SIGKILL) in the middle of {crash.executing} runs. "
        f"{crash.begun_twice} runs were begun twice, by another worker once the lease had "
        f"passed; {crash.done_twice} were done twice (killed between doing and storing)."
    )


_FURTHER = """
Next steps:
  jtask --help                 all commands
  jtask serve your_module      a worker for your own tasks
  docs/tutorial.md             from the first task to a deployed worker
  docs/concepts.md             what jtask guarantees, and how"""
