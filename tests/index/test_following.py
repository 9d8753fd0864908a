"""The follower and a broker: what it reads, what it has missed, what it deletes."""

import threading
import time
from collections.abc import Sequence

import index_models as m
import pytest
from in_process import on_io
from sqlalchemy import event, text
from waiting import eventually

from jtask.client import get_client
from jtask.contract import Broker, Event
from jtask.contract import EventBounds as Bounds
from jtask.ids import RunIds
from jtask.run_filters import RunFilter
from jtask_index.engines import open_engine
from jtask_index.follower import Follower, starting_point
from jtask_index.mirror import read_present, write_present
from jtask_index.reader import IndexReader
from jtask_index.retention import Limits, most_runs, trim
from jtask_index.sizes import used_bytes
from jtask_index.writer import Followed, IndexWriter


@pytest.fixture
def follower(jtask_memory: str, writer: IndexWriter) -> Follower:
    return Follower(get_client(), writer, Limits(1e9))


def append(events: list[Event]) -> None:
    async def send() -> None:
        get_client().broker.events.append(events)

    get_client().io.run(send())


def test_what_is_appended_is_in_the_index_once_it_has_caught_up(
    follower: Follower, reader: IndexReader
) -> None:
    events = m.Chance(1).events(3000)
    append(events[:1000])
    assert follower.catch_up() == 1000
    m.check(reader, events[:1000])
    append(events[1000:])
    assert follower.catch_up() == 2000
    assert follower.catch_up() == 0
    m.check(reader, events)


def test_a_follower_that_waits_is_woken_by_events(follower: Follower, reader: IndexReader) -> None:
    thread = threading.Thread(target=follower.run)
    thread.start()
    try:
        for count in (10, 20, 30):
            append(m.Chance(count).events(10))
            eventually(lambda: follower.applied == count)  # noqa: B023
    finally:
        follower.stop()
        thread.join()


def test_a_follower_that_was_stopped_has_closed_its_connections(
    follower: Follower, writer: IndexWriter
) -> None:
    opened: set[object] = set()
    event.listen(writer.engine, "checkout", lambda connection, *_: opened.add(connection))
    event.listen(writer.engine, "close", lambda connection, _: opened.discard(connection))
    thread = threading.Thread(target=follower.run)
    thread.start()
    eventually(lambda: opened)
    follower.stop()
    thread.join()
    assert not opened


def test_two_followers_of_one_database_apply_each_event_once(
    follower: Follower, reader: IndexReader, database: str
) -> None:
    # With connections of its own, as another process has: whichever ends first closes them.
    other = Follower(get_client(), IndexWriter(open_engine(database)), Limits(1e9))
    threads = [threading.Thread(target=one.run) for one in (follower, other)]
    for thread in threads:
        thread.start()
    events = m.Chance(2).events(400)
    try:
        for start in range(0, 400, 20):
            append(events[start : start + 20])
            time.sleep(0.01)  # so that there is something to do again and again
        eventually(lambda: follower.applied + other.applied >= 400)
    finally:
        follower.stop()
        other.stop()
        for thread in threads:
            thread.join()
    assert follower.applied + other.applied == 400
    m.check(reader, events)


def test_whoever_shows_the_index_is_told_of_what_any_follower_has_applied(
    jtask_memory: str, writer: IndexWriter
) -> None:
    told: list[Sequence[Event] | None] = []
    showing = Follower(get_client(), writer, Limits(1e9), on_change=told.append)
    other = Follower(get_client(), writer, Limits(1e9))
    events = m.Chance(6).events(20)
    append(events[:10])
    showing.catch_up()
    assert told == [events[:10]]
    append(events[10:])
    other.catch_up()
    showing.catch_up()
    showing.catch_up()
    assert told == [events[:10], None]


def test_an_index_that_is_rebuilt_says_the_same(follower: Follower, reader: IndexReader) -> None:
    events = m.Chance(3).events(200)
    append(events)
    follower.catch_up()
    follower.clear()
    assert reader.runs(RunFilter()).runs == []
    assert dict(reader.counts(RunFilter())) == {}
    follower.catch_up()
    m.check(reader, events)


@pytest.mark.parametrize(
    ("followed", "bounds", "start", "missed"),
    [
        (Followed("", 0), Bounds("a", 1, 0), Followed("a", 0), 0),
        (Followed("", 0), Bounds("a", 51, 90), Followed("a", 50), 0),
        (Followed("a", 70), Bounds("a", 51, 90), Followed("a", 70), 0),
        (Followed("a", 50), Bounds("a", 51, 90), Followed("a", 50), 0),
        (Followed("a", 40), Bounds("a", 51, 90), Followed("a", 50), 10),
        (Followed("a", 40), Bounds("a", 91, 90), Followed("a", 90), 50),
        (Followed("a", 95), Bounds("a", 51, 90), Followed("a", 90), 0),
        (Followed("a", 95), Bounds("b", 1, 9), Followed("b", 0), 0),
    ],
)
def test_a_follower_goes_on_with_what_the_log_has_of_what_it_has_not_read(
    followed: Followed, bounds: Bounds, start: Followed, missed: int
) -> None:
    assert starting_point(followed, bounds) == (start, missed)


def test_what_the_broker_dropped_before_it_was_read_is_counted(
    follower: Follower, reader: IndexReader
) -> None:
    events = m.Chance(4).events(30)
    append(events[:10])
    follower.catch_up()
    append(events[10:20])

    async def drop(broker: object) -> None:
        history = get_client().broker.events._storage.events  # type: ignore[attr-defined]
        for _ in range(20):
            history._delete_oldest()

    on_io(drop)
    append(events[20:])
    follower.catch_up()
    m.check(reader, events[:10] + events[20:])
    position = reader.position()
    assert position is not None
    assert (position.position, position.missed) == (30, 10)


def run_at(instant: float, *states: str) -> list[Event]:
    run_id = RunIds().new()
    run_id = (
        f"{int(instant * 1000):012x}"[:8] + "-" + f"{int(instant * 1000):012x}"[8:] + run_id[13:]
    )
    return [
        Event(run_id, state, instant, "mail", tags=("eu",), arguments='{"a":1}') for state in states
    ]


def test_runs_that_are_over_go_by_age(writer: IndexWriter, reader: IndexReader) -> None:
    now = time.time()
    old, waiting = run_at(now - 500, "Running", "Failed"), run_at(now - 500, "Scheduled")
    new = run_at(now - 50, "Completed")
    m.apply_all(writer, [old, waiting, new])
    assert trim(writer, Limits(100)) == (1, True)
    assert {run.run_id for run in reader.runs(RunFilter()).runs} == {
        waiting[0].run_id,
        new[0].run_id,
    }
    assert reader.states(old[0].run_id) == []
    assert len(m.all_runs(reader, RunFilter(tag=("eu",)))) == 2
    assert reader.counts(RunFilter()) == {"Scheduled": 1, "Completed": 1}


def test_of_too_many_runs_the_oldest_that_are_over_go(
    writer: IndexWriter, reader: IndexReader
) -> None:
    now = time.time()
    runs = [run_at(now - 100 + n, "Completed" if n else "Running") for n in range(10)]
    m.apply_all(writer, runs)
    assert trim(writer, Limits(1e9, runs=4)) == (6, True)
    kept = [run.run_id for run in m.all_runs(reader)]
    assert kept == [runs[n][0].run_id for n in (9, 8, 7, 0)]
    assert sum(reader.counts(RunFilter()).values()) == 4


def test_of_more_bytes_than_there_may_be_the_oldest_runs_go(
    writer: IndexWriter, reader: IndexReader
) -> None:
    now = time.time()
    runs = [run_at(now - 3000 + n, "Running", "Completed") for n in range(3000)]
    m.apply_all(writer, [[event for run in runs for event in run]])
    before = used(writer)
    kept: list[int] = []
    # To delete is to make room: what it then takes is looked at again.
    while not kept or kept[-1] != reader.count(RunFilter()).runs:
        kept.append(reader.count(RunFilter()).runs)
        trim(writer, Limits(1e9, size=before // 2))
    assert used(writer) < 0.55 * before
    assert 1000 < kept[-1] < 2000
    newest = reader.runs(RunFilter(), limit=1).runs[0]
    assert newest.run_id == runs[-1][0].run_id


def used(writer: IndexWriter) -> int:
    with writer.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # As its own maintenance does once a minute.
            connection.execute(text("ANALYZE"))
        return used_bytes(connection, connection.scalar(text("SELECT count(*) FROM task_run")) or 0)


def test_the_size_is_that_of_the_database(writer: IndexWriter, reader: IndexReader) -> None:
    now = time.time()
    runs = [run_at(now - 3000 + n, "Running", "Completed") for n in range(3000)]
    m.apply_all(writer, [[event for run in runs for event in run]])
    of_all = {
        "sqlite": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        "postgresql": "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables",
    }
    with writer.engine.begin() as connection:
        on_disk = connection.scalar(text(of_all[connection.dialect.name]))
    assert 0.5 < used(writer) / float(on_disk) < 1.5


@pytest.mark.parametrize(
    ("limits", "runs", "used_now", "most"),
    [
        (Limits(1, 100, 1000), 50, 900, 100),
        (Limits(1, 100, 1000), 50, 2000, 25),
        (Limits(1, 10, 1000), 50, 2000, 10),
        (Limits(1, 100, 1000), 0, 2000, 0),
        (Limits(1, 100, 1000), 0, 0, 100),
    ],
)
def test_bytes_are_a_number_of_runs_of_the_size_of_those_that_are_there(
    limits: Limits, runs: int, used_now: int, most: int
) -> None:
    assert most_runs(limits, runs, used_now) == most


def test_a_run_that_was_deleted_does_not_come_back_by_what_is_heard_of_it_later(
    writer: IndexWriter, reader: IndexReader
) -> None:
    now = time.time()
    late = run_at(now - 500, "RolledBack")
    before = writer.followed()
    assert writer.apply(late, before, Followed("log", 1), oldest=now - 100)
    assert reader.runs(RunFilter()).runs == []


def test_events_of_a_nats_server_are_followed_with_what_is_missed(
    jtask_nats: str, writer: IndexWriter, reader: IndexReader
) -> None:
    follower = Follower(get_client(), writer, Limits(1e9))
    events = m.Chance(5).events(90)

    async def kept() -> int:
        return (await get_client().broker.events.bounds()).last

    def send(some: list[Event]) -> None:
        before = get_client().io.run(kept())
        append(some)
        shards = {event.run_id[-11] for event in some}
        eventually(lambda: get_client().io.run(kept()) == before + len(shards))

    send(events[:30])
    follower.catch_up()
    send(events[30:60])
    last = get_client().io.run(kept())

    async def purge() -> None:
        session = get_client().broker.events._session  # type: ignore[attr-defined]
        await session.connection.api("STREAM.PURGE.JTASK_default_EVENTS", {"seq": last + 1})

    get_client().io.run(purge())
    send(events[60:])
    follower.catch_up()
    found = {run.run_id: run for run in m.all_runs(reader)}
    # Of a message with events of several runs the order is that of the shards.
    assert found == {run.run_id: run for run in m.model_of(events[:30] + events[60:])}
    position = reader.position()
    assert position is not None
    assert position.missed == len({event.run_id[-11] for event in events[30:60]})


def test_workers_schedules_and_dead_letters_are_those_that_the_broker_has(
    jtask_memory: str, writer: IndexWriter, reader: IndexReader
) -> None:
    m.apply_all(writer, [[Event(m.IDS[0], "Running", time.time(), "mail", 1, "gone")]])

    async def begin(broker: Broker) -> None:
        await broker.heartbeats.beat("host-1", b'{"slots": 3}', 60)
        await broker.records.put("schedules", "mail", b'{"paused": false}')

    def look() -> None:
        write_present(writer.engine, on_io(read_present))

    on_io(begin)
    look()
    assert [one.worker for one in reader.workers(is_living=True)] == ["host-1"]
    assert {one.worker: one.info for one in reader.workers()} == {
        "host-1": '{"slots": 3}',
        "gone": "",
    }
    assert [(one.schedule, one.record) for one in reader.schedules()] == [
        ("mail", '{"paused": false}')
    ]
    assert reader.dead_letters() == []

    async def end(broker: Broker) -> None:
        await broker.records.delete("schedules", "mail")
        await broker.heartbeats.beat("host-2", b"{}", 60)

    on_io(end)
    look()
    assert {one.worker for one in reader.workers(is_living=True)} == {"host-1", "host-2"}
    assert reader.schedules() == []
