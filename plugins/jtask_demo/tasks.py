"""The demo's task, and the journal by which one can tell what a killed worker was doing."""

import os
import tokenize
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from jtask import runtime, task
from jtask_demo.analysis import ModuleFacts, measure


@task
def analyse(module: str, path: str, journal: str) -> ModuleFacts:
    """Measure one module.

    Args:
        module: Its dotted name.
        path: Its file.
        journal: Folder where each worker notes what it begins and what it has done.
    """
    with _noted(Path(journal)), tokenize.open(path) as file:
        return measure(module, file.read())


class Journal(NamedTuple):
    """What the workers noted: (worker's pid, run id) in order, a pair each time."""

    begun: list[tuple[int, str]]
    done: list[tuple[int, str]]


def read_journal(folder: Path) -> Journal:
    """Return what all workers noted so far."""
    journal = Journal([], [])
    for file in folder.glob("*.log"):
        # A worker may be writing, but never half a line.
        for line in file.read_text().splitlines():
            word, _, run_id = line.partition(" ")
            noted = journal.begun if word == "begun" else journal.done
            noted.append((int(file.stem), run_id))
    return journal


@contextmanager
def _noted(folder: Path) -> Generator[None]:
    run = runtime.current_run()
    run_id = "" if run is None else run.run_id
    _note(folder, f"begun {run_id}\n")
    yield
    _note(folder, f"done {run_id}\n")


def _note(folder: Path, line: str) -> None:
    # One short append is written whole, and it survives the process, for the kernel has it.
    log = os.open(folder / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(log, line.encode())
    finally:
        os.close(log)
