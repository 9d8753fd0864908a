"""Runs whose events got lost: the index says in the end what became of them."""

import threading
import time
from collections.abc import Callable, Sequence

import index_models as m
import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE, eventually

from jtask import Run, task
from jtask.client import get_client
from jtask.contract import Broker, Event, OutcomeRecord
from jtask.ids import RunIds
from jtask.run_filters import RunFilter
from jtask.states import FINAL
from jtask_index import amending, silent_runs
from jtask_index.amending import SilentRuns, amend
from jtask_index.follower import Follower
from jtask_index.reader import IndexReader
from jtask_index.retention import Limits
from jtask_index.silent_runs import Answer, SilentRun, ask_about
from jtask_index.writer import IndexWriter

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
AT_ONCE = -60.0  # seconds of silence: every run is asked about


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silent_runs, "GRACE", AT_ONCE)
    monkeypatch.setattr(amending, "_PAUSE", 0.0)


@pytest.fixture
def lost_ends(jtask_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets no event of an end arrive, as if each was lost with its process."""
    log = get_client().broker.events
    append = log.append

    def append_others(events: Sequence[Event]) -> None:
        append([event for event in events if event.state not in FINAL])

    monkeypatch.setattr(log, "append", append_others)


@task
def double(number: int) -> int:
    return 2 * number


@task
def refuse() -> None:
    raise ValueError("no")


def follow(writer: IndexWriter) -> None:
    on_io(flush)
    Follower(get_client(), writer, Limits(1e9)).catch_up()


def hear(writer: IndexWriter, condition: Callable[[], bool]) -> None:
    """Follow the log until something is known."""

    def heard() -> bool:
        follow(writer)
        return condition()

    eventually(heard)


async def flush(broker: Broker) -> None:
    del broker
    get_client().events.flush()


def asked(reader: IndexReader, run_id: str) -> list[Answer]:
    run = reader.run(run_id)
    assert run is not None
    silent = SilentRun(run, len(reader.states(run_id)))
    answers: list[Answer] = on_io(lambda broker: ask_about(broker, [silent]))
    return answers


def state_of(reader: IndexReader, run_id: str) -> str:
    run = reader.run(run_id)
    return "" if run is None else run.state


@pytest.mark.usefixtures("lost_ends")
def test_an_end_that_was_not_heard_is_that_of_the_result_store(
    jtask_worker: StartWorker, writer: IndexWriter, reader: IndexReader
) -> None:
    jtask_worker(double, refuse)
    runs: list[Run[int] | Run[None]] = [double.delay(2), refuse.delay()]
    for run in runs:
        assert run.wait(PATIENCE)
    hear(writer, lambda: reader.counts(RunFilter()).get("Running") == 2)
    told: list[Sequence[Event] | None] = []
    silent = SilentRuns(get_client(), writer, AT_ONCE, told.append)

    def is_told() -> bool:
        silent.look()
        return "Running" not in reader.counts(RunFilter())

    eventually(is_told)
    assert reader.counts(RunFilter()) == {"Completed": 1, "Failed": 1}
    good, bad = (reader.run(run.run_id) for run in runs)
    assert good is not None
    assert bad is not None
    assert good.ended == runs[0].state.at
    assert (bad.error, bad.detail) == ("ValueError", "the task raised ValueError: no")


def test_the_dead_letter_tells_the_end_where_the_outcome_has_expired(
    jtask_worker: StartWorker,
    writer: IndexWriter,
    reader: IndexReader,
    lost_ends: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jtask_worker(refuse)
    run = refuse.delay()
    assert run.wait(PATIENCE)
    hear(writer, lambda: state_of(reader, run.run_id) == "Running")

    async def nothing(_run_id: str) -> OutcomeRecord | None:
        return None

    monkeypatch.setattr(get_client().broker.results, "get", nothing)
    (answer,) = asked(reader, run.run_id)
    assert [(event.state, event.error) for event in answer.events] == [("Failed", "ValueError")]


def test_a_run_that_goes_on_or_waits_is_left_alone(
    jtask_worker: StartWorker, writer: IndexWriter, reader: IndexReader
) -> None:
    goes_on, ends = threading.Event(), threading.Event()

    @task
    def long() -> None:
        goes_on.set()
        assert ends.wait(PATIENCE)

    jtask_worker(long)
    run, waiting = long.delay(), double.with_options(queue="idle").delay(1)
    assert goes_on.wait(PATIENCE)
    hear(writer, lambda: state_of(reader, run.run_id) == "Running")
    assert asked(reader, run.run_id) == []
    assert asked(reader, waiting.run_id) == []
    ends.set()


def test_a_run_that_waits_again_is_not_shown_as_executing(
    writer: IndexWriter, reader: IndexReader
) -> None:
    run = double.with_options(queue="idle").delay(1)
    begun = Event(run.run_id, "Running", time.time(), double.key, 1, "host-1")
    on_io(lambda broker: append(broker, [begun]))
    hear(writer, lambda: state_of(reader, run.run_id) == "Running")
    amend(writer, asked(reader, run.run_id))
    assert state_of(reader, run.run_id) == "Scheduled"


async def append(broker: Broker, events: list[Event]) -> None:
    broker.events.append(events)


def test_a_run_that_is_nowhere_has_crashed(writer: IndexWriter, reader: IndexReader) -> None:
    begun = Event(RunIds().new(), "Running", time.time(), double.key, 1, "host-1")
    m.apply_all(writer, [[begun]])
    amend(writer, asked(reader, begun.run_id))
    run = reader.run(begun.run_id)
    assert run is not None
    assert (run.state, run.worker) == ("Crashed", "host-1")
    assert "is gone" in run.detail
    assert reader.counts(RunFilter()) == {"Crashed": 1}


def test_a_run_of_which_nobody_can_know_the_end_is_forgotten(
    writer: IndexWriter, reader: IndexReader
) -> None:
    old = Event(m.IDS[0], "Running", m.BEGUN, double.key, 1, "host-1", tags=("eu",))
    m.apply_all(writer, [[old]])
    amend(writer, asked(reader, old.run_id))
    assert reader.run(old.run_id) is None
    assert reader.states(old.run_id) == []
    assert dict(reader.counts(RunFilter())) == {}


def test_what_is_heard_meanwhile_counts_more_than_an_answer(
    writer: IndexWriter, reader: IndexReader
) -> None:
    begun = Event(RunIds().new(), "Running", time.time(), double.key)
    m.apply_all(writer, [[begun]])
    answers = asked(reader, begun.run_id)
    m.apply_all(writer, [[begun._replace(state="Completed")]])
    assert amend(writer, answers) == []
    assert state_of(reader, begun.run_id) == "Completed"
    assert len(reader.states(begun.run_id)) == 2
