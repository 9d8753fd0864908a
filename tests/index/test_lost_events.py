"""What is lost of the events on a server is made up for by what it keeps of the runs."""

import signal
import subprocess
import sys
import threading

import index_models as m
import pytest
from in_process import StartWorker, on_io
from waiting import PATIENCE, eventually

from jtask import task
from jtask.client import get_client
from jtask.contract import Broker
from jtask.run_filters import RunFilter
from jtask.states import FINAL
from jtask_index import silent_runs
from jtask_index.follower import Follower
from jtask_index.reader import IndexReader
from jtask_index.retention import Limits
from jtask_index.writer import IndexWriter

DYING = """
import os, signal
from jtask import task
from jtask.client import event_buffer, get_client
from jtask.hooks import hookimpl
from jtask.plugins import get_plugins
from jtask.task_worker import serve


class Killer:
    @hookimpl
    def jtask_stored(self, end):
        os.kill(os.getpid(), signal.SIGKILL)


@task
def work() -> int:
    return 7


async def flush():
    get_client().events.flush()


# Whatever the worker has to say dies with it. Set before there is anything to say: the timer of the
# first event would send the worker's along.
event_buffer.FLUSH_SECONDS = 3600.0
print(work.delay().run_id, flush=True)
get_client().io.run(flush())
get_plugins().add(Killer())
serve(work)
"""


def test_a_worker_that_is_killed_between_an_outcome_and_its_event_leaves_no_run_open(
    jtask_nats: str,
    monkeypatch: pytest.MonkeyPatch,
    writer: IndexWriter,
    reader: IndexReader,
) -> None:
    monkeypatch.setattr(silent_runs, "GRACE", -60.0)
    get_client()
    command = [sys.executable, "-c", DYING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run_id = done.stdout.strip()
    assert get_client().io.run(get_client().broker.results.get(run_id)) is not None
    follower = Follower(get_client(), writer, Limits(1e9), quiet=-60.0)
    follower.catch_up()
    heard = reader.run(run_id)
    assert heard is not None
    assert heard.state not in FINAL
    thread = threading.Thread(target=follower.run)
    thread.start()
    try:
        eventually(lambda: reader.count(RunFilter(state=("Completed",))).runs)
    finally:
        follower.stop()
        thread.join()
    run = reader.run(run_id)
    assert run is not None
    assert run.started is not None
    assert run.worker


@task
def double(number: int) -> int:
    return 2 * number


def test_what_the_log_dropped_before_it_was_read_is_asked(
    jtask_nats: str,
    jtask_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    writer: IndexWriter,
    reader: IndexReader,
) -> None:
    monkeypatch.setattr(silent_runs, "GRACE", -60.0)
    runs = double.delay_many([(n,) for n in range(20)])
    follower = Follower(get_client(), writer, Limits(1e9), quiet=-60.0)

    def has_heard() -> bool:
        follower.catch_up()
        return follower.applied == 20

    eventually(has_heard)
    jtask_worker(double)
    for run in runs:
        assert run.wait(PATIENCE)

    async def ends(broker: Broker) -> int:
        return len([event async for event in broker.events.read() if event.state in FINAL])

    async def purge(broker: Broker) -> None:
        session = broker.events._session  # type: ignore[attr-defined]
        await session.connection.api("STREAM.PURGE.JTASK_default_EVENTS")

    eventually(lambda: on_io(ends) == 20)
    on_io(purge)
    follower.catch_up()
    position = reader.position()
    assert position is not None
    assert position.missed > 0
    assert reader.counts(RunFilter()) == {"Scheduled": 20}
    thread = threading.Thread(target=follower.run)
    thread.start()
    try:
        eventually(lambda: reader.counts(RunFilter()) == {"Completed": 20})
    finally:
        follower.stop()
        thread.join()
    m.check_whole(reader)
