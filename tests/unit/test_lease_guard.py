"""What the lease guard decides, sees and refuses; tests/integration has it at work."""

import asyncio
import contextlib
import errno
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest

import jtask
from jtask.errors import ConfigurationError
from jtask.lease_guard import LeaseGuard, Renew
from jtask.lease_guard.keeper import GuardKeeper
from jtask.lease_guard.process import GuardProcess
from jtask.lease_watch.assignment import Assignment
from jtask.lease_watch.decision import Observation, must_end, must_renew
from jtask.lease_watch.renewer import load, name_of
from jtask.lease_watch.table import CAPACITY, NO_SLOT, SIZE, LeaseTable


@pytest.mark.parametrize(
    ("before", "now", "still_for", "renews"),
    [
        (Observation(5, 100, "R"), Observation(5, 150, "R"), 1.1, True),
        (Observation(5, 100, "S"), Observation(5, 101, "S"), 1.1, True),
        (Observation(5, 100, "R"), Observation(6, 150, "R"), 1.1, False),
        (Observation(5, 100, "R"), Observation(5, 150, "R"), 0.9, False),
        (Observation(5, 100, "S"), Observation(5, 100, "S"), 9.9, False),
        (Observation(5, 100, "R"), Observation(5, 150, "T"), 1.1, False),
        (Observation(5, 100, "R"), Observation(5, 150, "Z"), 1.1, False),
    ],
    ids=["busy", "hardly-busy", "beats", "too-early", "stuck", "stopped", "dead"],
)
def test_the_guard_renews_for_who_is_busy_and_silent(
    before: Observation, now: Observation, still_for: float, renews: bool
) -> None:
    assert must_renew(before, now, still_for, lease=3.0) is renews


@pytest.mark.parametrize(
    ("orphaned_for", "still_for", "ends"),
    [(9.0, 9.0, False), (10.0, 9.0, False), (9.0, 10.0, False), (10.0, 10.0, True)],
)
def test_a_worker_ends_that_cannot_stop_after_its_supervisor(
    orphaned_for: float, still_for: float, ends: bool
) -> None:
    found = must_end(orphaned_for=orphaned_for, still_for=still_for, patience=10.0)
    assert found is ends


@pytest.fixture
def tables() -> Iterator[tuple[LeaseTable, LeaseTable]]:
    """The two sides of one table."""
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, SIZE)
    worker, guard = LeaseTable(descriptor), LeaseTable(descriptor)
    yield worker, guard
    worker.close()
    guard.close()
    os.close(descriptor)


def test_the_guard_sees_the_claims_in_hand(tables: tuple[LeaseTable, LeaseTable]) -> None:
    worker, guard = tables
    first, second = worker.put("$JS.ACK.long.one.1"), worker.put("$JS.ACK.two.2")
    assert set(guard.claims()) == {"$JS.ACK.long.one.1", "$JS.ACK.two.2"}
    worker.clear(first)
    assert guard.claims() == ["$JS.ACK.two.2"]
    worker.put("$JS.ACK.3")
    worker.clear(second)
    assert guard.claims() == ["$JS.ACK.3"]


def test_what_the_table_has_no_room_for_is_left_out(
    tables: tuple[LeaseTable, LeaseTable],
) -> None:
    worker, guard = tables
    assert worker.put("x" * 255) == NO_SLOT
    assert all(worker.put(str(n)) != NO_SLOT for n in range(CAPACITY))
    assert worker.put("one more") == NO_SLOT
    assert len(guard.claims()) == CAPACITY


def test_an_assignment_arrives_as_it_was() -> None:
    given = Assignment(12, 3, 6.5, 1.0, "a.b:c", '{"url": "nats://\\u0000\\n"}', 7, 0.25)
    assert vars(Assignment.from_line(given.to_line())) == vars(given)


def test_the_watch_imports_next_to_nothing() -> None:
    """Each worker has one, which takes as much memory as what it imports."""
    program = "import sys; before = set(sys.modules); import jtask.lease_watch.process\n"
    program += "print(*(set(sys.modules) - before))"
    # -S: what is installed here may import anything as the interpreter starts.
    command = [sys.executable, "-S", "-c", program]
    core = str(Path(jtask.__file__).parents[1])
    found = subprocess.run(command, env={"PYTHONPATH": core}, capture_output=True, check=True)
    heavy = {"asyncio", "collections", "contextlib", "json", "re", "subprocess", "typing"}
    assert heavy & set(found.stdout.decode().split()) == set()


def test_a_renewer_is_found_by_its_name() -> None:
    from jtask_nats.queues.lease_renewer import open_renewer

    assert load(name_of(open_renewer)) is open_renewer


def test_a_renewer_that_another_process_cannot_import_is_refused() -> None:
    @contextlib.asynccontextmanager
    async def nested(config: Any) -> AsyncGenerator[Renew]:
        yield lambda claims: None

    with pytest.raises(ConfigurationError, match="cannot import"):
        LeaseGuard(nested, {}, lease=15.0)


def test_a_guard_that_is_not_started_guards_nothing() -> None:
    from jtask_nats.queues.lease_renewer import open_renewer

    guard = LeaseGuard(open_renewer, {}, lease=15.0)
    slot = guard.hold("claim")
    assert (slot, guard.pid) == (NO_SLOT, None)
    guard.drop(slot)


def test_a_guard_that_was_closed_can_be_started_again() -> None:
    from jtask_nats.queues.lease_renewer import open_renewer

    async def main() -> None:
        guard = LeaseGuard(open_renewer, {}, lease=15.0)
        for _ in range(2):
            guard.start()
            assert guard.hold("claim") != NO_SLOT
            assert guard.pid is not None
            await guard.close()
            assert guard.pid is None

    asyncio.run(main())


@pytest.fixture
def assignment() -> Iterator[Assignment]:
    """To guard this process, for no lease at all."""
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, SIZE)
    yield Assignment(os.getpid(), descriptor, 15.0, 60.0, "a:b", "{}")
    os.close(descriptor)


def test_a_guard_ends_though_another_process_holds_its_standard_input(
    assignment: Assignment,
) -> None:
    process = GuardProcess(assignment)
    elsewhere = os.dup(process._orders.fileno())
    process.ask_to_end()
    process.end(timeout=60.0)
    assert process.exit_status() == 0
    os.close(elsewhere)


def test_guards_that_cannot_be_started_are_told_once(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(assignment: Assignment) -> GuardProcess:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("jtask.lease_guard.keeper.GuardProcess", refuse)
    keeper = GuardKeeper(assignment)
    for _ in range(3):
        keeper.ensure()
        keeper.let_go()  # so that the next start need not wait
    assert keeper.pid is None
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "no lease guard ([Errno 11] Resource temporarily unavailable)"
    ]


def test_without_a_python_to_start_there_is_no_guard(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", None)
    keeper = GuardKeeper(assignment)
    keeper.ensure()
    assert keeper.pid is None
    assert "no lease guard (it is not known where Python is" in caplog.text


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_nothing_is_forked_while_a_guard_is_started(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child would hold a pipe of the start, which would last as long as the child then."""
    has_forked = threading.Event()
    children: list[int] = []

    def fork() -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        children.append(child)
        has_forked.set()

    forking = threading.Thread(target=fork)
    start = subprocess.Popen

    def start_meanwhile(*args: Any, **options: Any) -> Any:
        forking.start()
        assert not has_forked.wait(0.2)
        return start(*args, **options)

    monkeypatch.setattr(subprocess, "Popen", start_meanwhile)
    process = GuardProcess(assignment)
    forking.join()
    os.waitpid(*children, 0)
    process.ask_to_end()
    process.end(timeout=60.0)
    assert process.exit_status() == 0
