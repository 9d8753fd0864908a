"""What came out of the demo: values and sums, no I/O."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from jtask_demo.analysis import FunctionFacts, ModuleFacts
from jtask_demo.tasks import Journal

_TOP = 10


@dataclass(frozen=True, slots=True)
class RankedFunction:
    """A function with its module."""

    module: str
    function: FunctionFacts


@dataclass(frozen=True, slots=True)
class Library:
    """The sums over all modules."""

    modules: int
    lines: int
    code_lines: int
    functions: int
    classes: int
    most_complex: list[RankedFunction]
    longest_modules: list[ModuleFacts]


@dataclass(frozen=True, slots=True)
class Crash:
    """What the kill did.

    Attributes:
        pid: The killed worker.
        executing: How many runs it was in the middle of.
        begun_twice: How many runs were begun more than once.
        done_twice: How many of these had been done already, outcome not yet stored.
    """

    pid: int
    executing: int
    begun_twice: int
    done_twice: int


@dataclass(frozen=True, slots=True)
class Report:
    """All that came out of a demo.

    Attributes:
        python: The version whose library was measured.
        workers: How many there were at first.
        runs: How many were enqueued.
        lost: How many of these have no outcome.
        failed: Module and error of each that failed.
        enqueue_seconds: Until all runs were durably stored.
        seconds: From the first begin to the last end.
        crash: None when no worker was killed.
    """

    python: str
    workers: int
    runs: int
    lost: int
    enqueue_seconds: float
    seconds: float
    library: Library
    crash: Crash | None
    failed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def runs_per_second(self) -> float:
        """The pace, the time without the killed worker included."""
        return (self.runs - self.lost) / self.seconds if self.seconds else 0.0


def library(modules: Iterable[ModuleFacts]) -> Library:
    """Sum up modules."""
    found = list(modules)
    ranked = [RankedFunction(m.module, function) for m in found for function in m.most_complex]
    # By name at last, so that two runs of the demo show the same order.
    ranked.sort(key=lambda r: (-r.function.complexity, r.module, r.function.line))
    return Library(
        modules=len(found),
        lines=sum(m.lines for m in found),
        code_lines=sum(m.code_lines for m in found),
        functions=sum(m.functions for m in found),
        classes=sum(m.classes for m in found),
        most_complex=ranked[:_TOP],
        longest_modules=sorted(found, key=lambda m: (-m.code_lines, m.module))[:_TOP],
    )


def executing(journal: Journal, pid: int) -> set[str]:
    """Return the runs that a worker has begun and not done."""
    return {run for worker, run in journal.begun if worker == pid} - {
        run for worker, run in journal.done if worker == pid
    }


def crash(journal: Journal, pid: int, held: int) -> Crash:
    """Say what a kill did.

    Args:
        journal: Read after the last run ended.
        pid: The killed worker.
        held: How many runs it was in the middle of.
    """
    return Crash(pid, held, _more_than_once(journal.begun), _more_than_once(journal.done))


def _more_than_once(noted: list[tuple[int, str]]) -> int:
    return len(noted) - len({run for _, run in noted})
