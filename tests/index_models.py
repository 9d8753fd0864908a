"""Lives of runs for tests of the index, and what must be found of them."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from jtask.cli.history import summarise
from jtask.contract import Event
from jtask.ids import RunIds, created_at
from jtask.run_filters import Condition, RunFilter
from jtask.run_summaries import RunSummary
from jtask.states import StateName
from jtask_index.reader import IndexReader
from jtask_index.writer import Followed, IndexWriter

TASKS = ("mail-0123456789ab", "mail-ba9876543210", "own-key")
QUEUES = ("", "slow")
TAGS = ("eu", "us")
WORKERS = ("", "host-1", "host-2")
NOTES = ("", "plain", "ärger", "50%_off", "it's", "A\nb")
IDS = RunIds("0123456789").new_many(12)
BEGUN = created_at(IDS[0])

_arguments = st.one_of(
    st.just(""),
    st.just('{"cut off": "he...'),
    st.builds(
        lambda tenant, note, parts: json.dumps(
            {"tenant": tenant, "note": note, "order": {"parts": parts, "big": tenant > 5}}
        ),
        st.integers(0, 9),
        st.sampled_from(NOTES),
        st.lists(st.integers(0, 3), max_size=3),
    ),
)

events = st.builds(
    Event,
    run_id=st.sampled_from(IDS),
    state=st.sampled_from(list(map(str, StateName))),
    at=st.integers(0, 400).map(lambda n: BEGUN + n / 4),
    task=st.sampled_from(TASKS),
    attempt=st.integers(1, 3),
    worker=st.sampled_from(WORKERS),
    detail=st.sampled_from(("", "ValueError: no", "OSError: disk", "handed back\nmore")),
    until=st.none() | st.just(BEGUN + 99),
    tags=st.sampled_from(((), ("eu",), ("us", "eu"))),
    parent=st.sampled_from(("", IDS[0])),
    version=st.sampled_from(("", "7")),
    queue=st.sampled_from(QUEUES),
    run_name=st.sampled_from(("", "for Ann", "für Bo")),
    arguments=_arguments,
)

_some = lambda values: st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)  # noqa: E731

conditions = st.one_of(
    st.builds(
        Condition,
        st.sampled_from(("args.tenant", "args.note", "args.order.parts", "args.order.big")),
        st.sampled_from(("=", "!=", "~", "!~")),
        st.sampled_from(("3", "7", "1", "true", "ärger", "%", "'", "A\nb")),
    ),
    st.builds(
        Condition,
        st.sampled_from(("args.tenant", "args.order.parts", "attempt", "took")),
        st.sampled_from((">", ">=", "<", "<=", "=", "!=")),
        st.sampled_from(("0", "2", "5", "20")),
    ),
    st.builds(
        Condition,
        st.sampled_from(("error", "detail", "name", "version", "worker", "parent")),
        st.sampled_from(("=", "!=", "~", "!~")),
        st.sampled_from(("ValueError", "host-1", "7", "Ann", "for Ann", "error", IDS[0])),
    ),
)

filters = st.builds(
    RunFilter,
    state=_some(list(map(str, StateName))),
    task=_some(("mail", "own-key", TASKS[0], "none")),
    queue=_some(("slow", "fast")),
    worker=_some(WORKERS[1:]),
    tag=_some(TAGS),
    parent=_some((IDS[0], IDS[1])),
    where=st.lists(conditions, max_size=2).map(tuple),
    text=st.sampled_from(("", "", "", "Ann", "tenant", "disk", "Disk")),
)


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


def check(reader: IndexReader, told: Sequence[Event]) -> None:
    """Compares all that the index says with what follows from the events that it was told."""
    model = model_of(told)
    assert all_runs(reader) == model
    assert dict(reader.counts(RunFilter())) == Counter(run.state for run in model)
    for run in model:
        states = reader.states(run.run_id)
        of_run = [event for event in told if event.run_id == run.run_id]
        assert sorted(state.number for state in states) == list(range(1, len(of_run) + 1))
    ended = Counter(str(run.state) for run in model if run.ended is not None)
    buckets = reader.timeline(RunFilter(), since=BEGUN - 60, until=BEGUN + 3600, buckets=10)
    assert sum((Counter(bucket.runs) for bucket in buckets), Counter()) == ended
    failed = Counter((run.task, run.error) for run in model if run.error)
    groups = reader.failures(RunFilter(), since=BEGUN - 60, until=BEGUN + 3600)
    assert {(group.task, group.error): group.runs for group in groups} == failed
