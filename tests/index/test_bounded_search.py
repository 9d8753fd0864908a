"""A question takes a bounded time, whatever it finds, and the next one goes on from there."""

from collections import Counter

import index_models as m
import pytest

from jtask.contract import Event
from jtask.ids import RunIds, created_at
from jtask.run_filters import Condition, RunFilter
from jtask.run_summaries import RunSummary
from jtask_index import searching
from jtask_index.reader import IndexReader
from jtask_index.writer import IndexWriter

RUNS = 600
NOWHERE = RunFilter(text="nowhere")


@pytest.fixture
def ids(writer: IndexWriter) -> list[str]:
    """Runs, newest first: the oldest has an odd tag, and each third one has failed."""
    made = RunIds().new_many(RUNS)
    events = [
        Event(
            run_id,
            "Failed" if number % 3 == 0 else "Completed",
            created_at(run_id) + 1,
            "mail-0123456789ab",
            tags=("all", "odd") if number == 0 else ("all",),
            arguments=f'{{"n":{number},"half":{number % 2}}}',
        )
        for number, run_id in enumerate(made)
    ]
    m.apply_all(writer, [events])
    return made[::-1]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question looks at one part of the runs."""
    monkeypatch.setattr(searching, "LONGEST", -1.0)


def pages(reader: IndexReader, wanted: RunFilter, limit: int = 50) -> list[list[RunSummary]]:
    found: list[list[RunSummary]] = []
    after: str | None = None
    while True:
        page = reader.runs(wanted, after=after, limit=limit)
        found.append(page.runs)
        if page.after is None:
            return found
        assert after is None or page.after < after
        after = page.after


@pytest.mark.usefixtures("impatient")
def test_a_page_on_which_nothing_was_found_in_time_says_where_to_go_on(
    ids: list[str], reader: IndexReader
) -> None:
    page = reader.runs(NOWHERE)
    assert page.runs == []
    assert page.after in ids
    assert page.reached == created_at(page.after)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "wanted",
    [
        NOWHERE,
        RunFilter(text='"n":0,'),
        RunFilter(where=(Condition("args.n", "<", "3"),)),
        RunFilter(where=(Condition("args.n", "~", "9"),), state=("Failed",)),
        RunFilter(where=(Condition("error", "!=", "Failed"),), tag=("all",)),
        RunFilter(where=(Condition("args.half", "=", "1"),), state=("Failed",), tag=("all",)),
    ],
    ids=str,
)
def test_whoever_goes_on_finds_all_that_is_meant_once(
    wanted: RunFilter, ids: list[str], reader: IndexReader
) -> None:
    found = [run for page in pages(reader, wanted) for run in page]
    assert found == [run for run in map(reader.run, ids) if run is not None and wanted.takes(run)]


def test_a_page_that_is_full_has_not_stopped_early(ids: list[str], reader: IndexReader) -> None:
    page = reader.runs(RunFilter(), limit=50)
    assert [run.run_id for run in page.runs] == ids[:50]
    assert (page.after, page.reached) == (ids[49], None)


@pytest.mark.usefixtures("impatient")
def test_a_count_that_has_not_looked_everywhere_is_not_exact(
    ids: list[str], reader: IndexReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_FIRST_COUNTED", 90)
    count = reader.count(RunFilter(text='"n":'))
    assert (count.runs, count.is_exact) == (90, False)
    assert not reader.count(NOWHERE).is_exact


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "wanted",
    [
        RunFilter(tag=("all", "odd")),
        RunFilter(tag=("odd",), state=("Failed",), task=("mail",)),
        RunFilter(tag=("all",), where=(Condition("args.n", "=", "0"),)),
        RunFilter(state=("Failed", "Completed"), where=(Condition("args.n", "=", "0"),)),
    ],
    ids=str,
)
def test_what_is_rare_is_found_at_once_whatever_else_is_asked(
    wanted: RunFilter, ids: list[str], reader: IndexReader
) -> None:
    page = reader.runs(wanted)
    assert [run.run_id for run in page.runs] == [ids[-1]]
    assert page.after is None


def test_a_task_with_more_keys_than_are_looked_up_is_found(
    writer: IndexWriter, reader: IndexReader
) -> None:
    made = RunIds().new_many(40)
    events = [
        Event(run_id, "Failed", created_at(run_id), f"mail-{number:012x}")
        for number, run_id in enumerate(made)
    ]
    m.apply_all(writer, [events])
    page = reader.runs(RunFilter(task=("mail",), state=("Failed",)), limit=30)
    assert [run.run_id for run in page.runs] == made[:9:-1]


def test_a_chart_of_days_says_the_same_as_one_of_minutes(
    writer: IndexWriter, reader: IndexReader
) -> None:
    made = RunIds().new_many(300)
    begin = created_at(made[0])
    events = [
        Event(run_id, "Failed" if number % 4 else "Completed", begin + number * 977.0, "mail")
        for number, run_id in enumerate(made)
    ]
    m.apply_all(writer, [events])
    span = {"since": begin, "until": begin + 300 * 977.0}
    by_hour = reader.timeline(RunFilter(), **span, buckets=60)
    by_minute = reader.timeline(RunFilter(task=("mail",)), **span, buckets=500)
    assert {bucket.seconds % 3600 for bucket in by_hour} == {0}
    assert len(by_hour) <= 60
    assert sum(bucket.total for bucket in by_minute) == len(made)
    for bucket in by_hour:
        inside = [e for e in events if bucket.start <= e.at < bucket.start + bucket.seconds]
        assert bucket.runs == Counter(e.state for e in inside)
