"""Whatever happens to runs, in whatever order it is told: the index says what follows from it."""

import index_models as m
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jtask.states import FINAL
from jtask_index.amending import amend
from jtask_index.engines import open_engine
from jtask_index.reader import IndexReader
from jtask_index.retention import Limits, trim
from jtask_index.writer import Followed, IndexWriter

SETTINGS = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SEEDS = st.integers(0, 2**32)


@SETTINGS
@given(seed=SEEDS, cuts=st.lists(st.integers(0, 40), max_size=4).map(sorted))
def test_the_index_says_what_follows_from_the_events(
    seed: int, cuts: list[int], writer: IndexWriter, reader: IndexReader
) -> None:
    events = m.Chance(seed).events(40)
    writer.clear()
    m.apply_all(
        writer, [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    )
    m.check(reader, events)


@SETTINGS
@given(seed=SEEDS)
def test_whatever_was_lost_and_whoever_asks_each_answer_is_written_once(
    seed: int, database: str, writer: IndexWriter, reader: IndexReader
) -> None:
    chance = m.Chance(seed)
    heard = [e for e in chance.events(40) if e.state not in FINAL or chance.random.random() < 0.3]
    writer.clear()
    m.apply_all(writer, [heard])
    answers = [chance.answer(run) for run in m.silent_runs(reader)]
    late = [e for e in chance.events(5) if e.run_id in {one.run_id for one in heard}]
    before = writer.followed()
    assert writer.apply(late, before, Followed("log", before.position + len(late)))
    touched = {event.run_id for event in late}
    other = IndexWriter(open_engine(database))
    for one in (writer, other, writer):
        amend(one, answers)
    other.engine.dispose()
    written = [one for one in answers if one.run.summary.run_id not in touched]
    forgotten = {one.run.summary.run_id for one in written if not one.events}
    told = [*heard, *late, *(event for one in written for event in one.events)]
    m.check(reader, [event for event in told if event.run_id not in forgotten])
    m.check_whole(reader)


@SETTINGS
@given(seed=SEEDS, size=st.integers(0, 12))
def test_what_is_deleted_leaves_nothing_behind(
    seed: int, size: int, writer: IndexWriter, reader: IndexReader
) -> None:
    events = m.Chance(seed).events(40)
    writer.clear()
    m.apply_all(writer, [events])
    trim(writer, Limits(1e9, runs=size))
    model = m.model_of(events)
    over = [run for run in model if run.ended is not None]
    kept = over[: max(0, size - (len(model) - len(over)))]
    expected = [run for run in model if run.ended is None or run in kept]
    assert m.all_runs(reader) == expected
    m.check_whole(reader)


@SETTINGS
@given(seed=SEEDS)
def test_a_filter_finds_in_sql_what_it_takes(
    seed: int, writer: IndexWriter, reader: IndexReader
) -> None:
    chance = m.Chance(seed)
    events = chance.events(60)
    writer.clear()
    m.apply_all(writer, [events])
    model = m.model_of(events)
    for _ in range(20):
        wanted = chance.filter()
        expected = [run for run in model if wanted.takes(run)]
        assert m.all_runs(reader, wanted, limit=2) == expected, wanted
        count = reader.count(wanted)
        assert (count.runs, count.is_exact) == (len(expected), True), wanted


@pytest.mark.parametrize("seed", range(5))
def test_several_followers_apply_each_event_once(
    seed: int, database: str, writer: IndexWriter, reader: IndexReader
) -> None:
    chance = m.Chance(seed)
    events = chance.events(40)
    followers = [writer, IndexWriter(open_engine(database)), IndexWriter(open_engine(database))]
    seen = [one.followed() for one in followers]
    lost = 0
    while min(one.position for one in seen) < len(events):
        number = chance.random.randrange(3)
        before = seen[number]
        end = min(len(events), before.position + chance.random.randint(1, 9))
        after = Followed("log", end)
        if followers[number].apply(events[before.position : end], before, after):
            seen[number] = after
        else:
            seen[number] = followers[number].followed()
            lost += 1
    assert lost
    m.check(reader, events)
    for one in followers[1:]:
        one.engine.dispose()
