"""Find the runs of which nothing was heard for long, ask about them, and write what is found."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from sqlalchemy import select

from jtask.client import Client
from jtask.contract import Event
from jtask.states import FINAL, StateName
from jtask_index.engines import translated
from jtask_index.folding import KnownRun, count_key, fold
from jtask_index.retention import delete_runs
from jtask_index.rows import RUN_FIELDS, run_of_row
from jtask_index.schema import task_run
from jtask_index.silent_runs import Answer, SilentRun, ask_about
from jtask_index.writer import IndexWriter, known_runs, lock_log, write_changes

_OPEN = tuple(state for state in StateName if state not in FINAL)
_PAUSE = 2.0  # seconds between two looks
_LOOKED_AT = 500  # runs of a state in one look
_ASKED = 20  # of them that are asked about
_QUESTIONS = tuple(task_run.c[field] for field in (*RUN_FIELDS, "states"))


@dataclass(slots=True)
class _Round:
    """How far the runs in a state have been looked at, by their ids, and when to look on."""

    state: StateName
    after: str = ""
    due: float = 0.0


class SilentRuns:
    """Ask about runs of which nothing was heard for long, a few at a time, in rounds.

    Args:
        client: Whose broker knows.
        writer: Of the index.
        quiet: Seconds after which no news is worth a question, and between two about one run.
        on_change: Told what was written.
    """

    def __init__(
        self,
        client: Client,
        writer: IndexWriter,
        quiet: float,
        on_change: Callable[[Sequence[Event] | None], object],
    ) -> None:
        self._client = client
        self._writer = writer
        self._quiet = quiet
        self._on_change = on_change
        self._rounds = [_Round(state) for state in _OPEN]
        self._asking: Future[list[Answer]] | None = None
        self._due = 0.0

    def look(self) -> None:
        """Write what was answered, or ask on; waits for no answer.

        Call it only when the index has what the log has: else there is news that it does not know.

        Raises:
            BrokerError: The broker cannot be asked.
            IndexUnavailable: The database cannot be used.
        """
        if self._asking is not None:
            if self._asking.done():
                asked, self._asking = self._asking, None
                if answers := asked.result():
                    # Runs may have been deleted, of which there is no event.
                    self._on_change(amend(self._writer, answers) or None)
        elif time.monotonic() >= self._due:
            self._due = time.monotonic() + _PAUSE
            runs = [run for one in self._rounds for run in self._next(one)]
            if runs:
                self._asking = self._client.io.submit(ask_about(self._client.broker, runs))

    def _next(self, one: _Round) -> list[SilentRun]:
        if time.monotonic() < one.due:
            return []
        columns = task_run.c
        query = select(*_QUESTIONS).where(columns.state == str(one.state))
        query = query.where(columns.run_id > one.after).order_by(columns.run_id).limit(_LOOKED_AT)
        rows = self._writer.fetch(query)
        silent: list[SilentRun] = []
        for row in rows:
            run = SilentRun(run_of_row(row), row[-1])
            one.after = run.summary.run_id
            if is_silent(run, time.time() - self._quiet):
                silent.append(run)
            if len(silent) == _ASKED:
                return silent
        if len(rows) < _LOOKED_AT:
            one.after, one.due = "", time.monotonic() + self._quiet
        return silent


def is_silent(run: SilentRun, before: float) -> bool:
    """Tell whether there should have been news of a run by now.

    Args:
        run: It, which is not over.
        before: The instant before which it was last heard of, or should have gone on.
    """
    return max(run.summary.at, run.summary.until or 0.0) < before


def amend(writer: IndexWriter, answers: Sequence[Answer]) -> list[Event]:
    """Write what became of runs, of those of which nothing was heard in the meantime.

    Args:
        writer: Of the index.
        answers: What is to be written; a run of which nothing can be known is deleted.

    Returns:
        list[Event]: What was written.

    Raises:
        IndexUnavailable: The database cannot be used; nothing was done.
    """
    with translated(writer.engine), writer.engine.begin() as connection:
        lock_log(connection)
        known = known_runs(connection, [answer.run.summary.run_id for answer in answers])
        current = [answer for answer in answers if _is_current(answer, known)]
        events = [event for answer in current for event in answer.events]
        told = {event.run_id for event in events}
        write_changes(connection, fold({one: known[one] for one in told}, events))
        unknown = [answer.run.summary for answer in current if not answer.events]
        delete_runs(connection, {run.run_id: count_key(run) for run in unknown})
    return events


def _is_current(answer: Answer, known: Mapping[str, KnownRun]) -> bool:
    run = known.get(answer.run.summary.run_id)
    return run is not None and run.states == answer.run.states
