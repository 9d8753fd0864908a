"""Lives of runs for tests of the index, and what must be found of them."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from jtask.cli.history import summarise
from jtask.contract import Event
from jtask.ids import created_at
from jtask.run_filters import Condition, RunFilter
from jtask.run_summaries import RunSummary
from jtask.states import StateName
from jtask_index.reader import IndexReader
from jtask_index.silent_runs import Answer, SilentRun
from jtask_index.writer import Followed, IndexWriter

# The same ones in each process.
IDS = [f"019a0000-{n:04x}-7000-8000-{n:02x}0123456789" for n in range(12)]
BEGUN = created_at(IDS[0])

_STATES = tuple(map(str, StateName))
_TASKS = ("mail-0123456789ab", "mail-ba9876543210", "own-key")
_WORKERS = ("host-1", "host-2")
_NOTES = ("", "plain", "ärger", "50%_off", "it's", "A\nb")
_DETAILS = ("", "ValueError: no", "OSError: disk", "handed back\nmore")
_CONDITIONS = (
    (
        ("args.tenant", "args.note", "args.order.parts", "args.order.big"),
        ("=", "!=", "~", "!~"),
        ("3", "7", "1", "true", "ärger", "%", "'", "A\nb"),
    ),
    (
        ("args.tenant", "args.order.parts", "attempt", "took"),
        (">", ">=", "<", "<=", "=", "!="),
        ("0", "2", "5", "20"),
    ),
    (
        ("error", "detail", "name", "version", "worker", "parent"),
        ("=", "!=", "~", "!~"),
        ("ValueError", "host-1", "7", "Ann", "for Ann", "error", IDS[0]),
    ),
)


class Chance:
    """Makes events and filters by chance, the same ones from the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def events(self, count: int) -> list[Event]:
        return [self._event() for _ in range(count)]

    def filter(self) -> RunFilter:
        return RunFilter(
            state=self._some(_STATES),
            task=self._some(("mail", "own-key", _TASKS[0], "none")),
            queue=self._some(("slow", "fast")),
            worker=self._some(_WORKERS),
            tag=self._some(("eu", "us")),
            parent=self._some(IDS[:2]),
            where=tuple(self._condition() for _ in range(self.random.choice((0, 0, 1, 2)))),
            text=self.random.choice(("", "", "", "Ann", "tenant", "disk", "Disk")),
        )

    def answer(self, run: SilentRun) -> Answer:
        """Returns what may become of a run that is not over."""
        if self.random.random() < 0.3:
            return Answer(run, [])
        at = run.summary.at + self.random.randrange(100)
        state = self.random.choice(_STATES)
        return Answer(run, [self._event()._replace(run_id=run.summary.run_id, state=state, at=at)])

    def _event(self) -> Event:
        choice = self.random.choice
        return Event(
            run_id=choice(IDS),
            state=choice(_STATES),
            at=BEGUN + self.random.randrange(400) / 4,
            task=choice(_TASKS),
            attempt=self.random.randint(1, 3),
            worker=choice(("", *_WORKERS)),
            detail=choice(_DETAILS),
            until=choice((None, BEGUN + 99)),
            tags=choice(((), ("eu",), ("us", "eu"))),
            parent=choice(("", IDS[0])),
            version=choice(("", "7")),
            queue=choice(("", "slow")),
            run_name=choice(("", "for Ann", "für Bo")),
            arguments=self._arguments(),
            error=choice(("", "", "ValueError")),
            trace_id=choice(
                ("", "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c")
            ),
        )

    def _arguments(self) -> str:
        kind = self.random.random()
        if kind < 0.3:
            return "" if kind < 0.2 else '{"cut off": "he...'
        order = {
            "parts": [self.random.randrange(4) for _ in range(self.random.randrange(4))],
            "big": self.random.random() < 0.5,
        }
        tenant, note = self.random.randrange(10), self.random.choice(_NOTES)
        return json.dumps({"tenant": tenant, "note": note, "order": order})

    def _some(self, values: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.random.sample(list(values), self.random.choice((0, 0, 0, 1, 2))))

    def _condition(self) -> Condition:
        return Condition(*map(self.random.choice, self.random.choice(_CONDITIONS)))


def apply_all(writer: IndexWriter, batches: Sequence[Sequence[Event]]) -> None:
    before = writer.followed()
    for batch in batches:
        after = Followed("log", before.position + len(batch))
        assert writer.apply(batch, before, after)
        before = after


def model_of(told: Sequence[Event]) -> list[RunSummary]:
    return sorted(summarise(told).values(), key=lambda run: run.run_id, reverse=True)


def all_runs(reader: IndexReader, wanted: RunFilter | None = None, limit: int = 5) -> list[Any]:
    """Returns the runs that are meant, page by page."""
    found: list[RunSummary] = []
    after: str | None = None
    while True:
        page = reader.runs(wanted or RunFilter(), after=after, limit=limit)
        found += page.runs
        after = page.after
        if after is None:
            return found


def silent_runs(reader: IndexReader) -> list[SilentRun]:
    return [
        SilentRun(run, len(reader.states(run.run_id)))
        for run in all_runs(reader)
        if run.ended is None
    ]


def check_whole(reader: IndexReader) -> None:
    """Checks that tables agree with each other: what a run has is there, and nothing else."""
    with reader.engine.connect() as connection:

        def ask(query: str) -> list[tuple[Any, ...]]:
            return sorted(map(tuple, connection.execute(text(query))))

        kept = "SELECT task, queue, state, runs FROM task_run_count WHERE runs <> 0"
        assert ask(kept) == ask(
            "SELECT task, queue, state, count(*) FROM task_run GROUP BY task, queue, state"
        )
        assert ask("SELECT run_id, states FROM task_run") == ask(
            "SELECT run_id, count(*) FROM task_run_state GROUP BY run_id"
        )
        for table in ("task_run_tag", "task_run_argument"):
            of_no_run = "WHERE run_id NOT IN (SELECT run_id FROM task_run)"
            assert ask(f"SELECT run_id FROM {table} {of_no_run}") == []


def check(reader: IndexReader, told: Sequence[Event]) -> None:
    """Compares all that the index says with what follows from the events that it was told."""
    model = model_of(told)
    assert all_runs(reader) == model
    assert dict(reader.counts(RunFilter())) == Counter(run.state for run in model)
    for run in model:
        numbers = sorted(state.number for state in reader.states(run.run_id))
        assert len(numbers) == sum(event.run_id == run.run_id for event in told)
        assert numbers == list(range(1, len(numbers) + 1))
    begin, end = min((e.at for e in told), default=0.0), max((e.at for e in told), default=0.0)
    buckets = reader.timeline(RunFilter(), since=begin, until=end + 60, buckets=10)
    ended = Counter(run.state for run in model if run.ended is not None)
    assert sum((Counter(bucket.runs) for bucket in buckets), Counter()) == ended
    failed = Counter((run.task, run.error) for run in model if run.error)
    groups = reader.failures(RunFilter(), since=begin, until=end + 60)
    assert {(group.task, group.error): group.runs for group in groups} == failed
