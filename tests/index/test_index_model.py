"""Whatever happens to runs, in whatever order it is told: the index says what follows from it."""

from collections.abc import Callable

import index_models as m
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jtask.contract import Event
from jtask.run_filters import RunFilter
from jtask_index.engines import open_engine
from jtask_index.reader import IndexReader
from jtask_index.writer import Followed, IndexWriter

SETTINGS = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.large_base_example,
        HealthCheck.too_slow,
    ],
)


@pytest.fixture
def opened(database: str) -> tuple[IndexWriter, IndexReader]:
    writer = IndexWriter(open_engine(database))
    writer.prepare()
    return writer, IndexReader.open(database)


@SETTINGS
@given(batches=st.lists(st.lists(m.events, max_size=5), max_size=4))
def test_the_index_says_what_follows_from_the_events(
    batches: list[list[Event]], opened: tuple[IndexWriter, IndexReader]
) -> None:
    writer, reader = opened
    writer.clear()
    m.apply_all(writer, batches)
    m.check(reader, [event for batch in batches for event in batch])


@SETTINGS
@given(events=st.lists(m.events, max_size=12), wanted=st.lists(m.filters, min_size=1, max_size=6))
def test_a_filter_finds_in_sql_what_it_takes(
    events: list[Event], wanted: list[RunFilter], opened: tuple[IndexWriter, IndexReader]
) -> None:
    writer, reader = opened
    writer.clear()
    m.apply_all(writer, [events])
    model = m.model_of(events)
    for one in wanted:
        expected = [run for run in model if one.takes(run)]
        assert m.all_runs(reader, one, limit=2) == expected
        count = reader.count(one)
        assert (count.runs, count.is_exact) == (len(expected), True)


@SETTINGS
@given(data=st.data(), events=st.lists(m.events, min_size=1, max_size=12))
def test_several_followers_apply_each_event_once(
    data: st.DataObject, events: list[Event], new_database: Callable[[], str], database: str
) -> None:
    followers = [IndexWriter(open_engine(database)) for _ in range(3)]
    seen = [one.prepare() for one in followers]
    followers[0].clear()
    seen = [one.followed() for one in followers]
    while min(one.position for one in seen) < len(events):
        number = data.draw(st.sampled_from(range(3)))
        before = seen[number]
        end = min(len(events), before.position + data.draw(st.integers(1, 5)))
        after = Followed("log", end)
        if followers[number].apply(events[before.position : end], before, after):
            seen[number] = after
        else:
            seen[number] = followers[number].followed()
    with IndexReader.open(database) as reader:
        m.check(reader, events)
    for one in followers:
        one.engine.dispose()
