"""Operations on many runs: noted, claimed by one, and dealt with to the end."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from click.testing import CliRunner

from jtask.bulk_actions import BulkAction, BulkItem
from jtask.errors import BrokerUnavailable, IndexUnavailable, JTaskError, MessageRefused
from jtask_index import bulk, bulk_command, operations
from jtask_index.bulk import BulkOperations, Progress
from jtask_index.carrier import asking, carrier
from jtask_index.operations import OperationLog, new_operation
from jtask_index.reader import IndexReader

RUNS = [f"run-{n:03}" for n in range(100)]


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    class Here:
        async def bridge(self, coroutine: Awaitable[Any]) -> Any:
            return await coroutine

    monkeypatch.setattr(bulk, "get_client", Here)
    monkeypatch.setattr(bulk, "_PAUSE", 0.01)


@pytest.fixture
def log(reader: IndexReader) -> OperationLog:
    return OperationLog(reader.engine)


def made(reader: IndexReader, act: Callable[[BulkItem], Awaitable[str]]) -> BulkOperations:
    return BulkOperations(asking(reader), [BulkAction("mend runs", act, newest_first=True)])


def test_each_run_is_dealt_with_once_and_counted(reader: IndexReader, log: OperationLog) -> None:
    dealt_with: Counter[str] = Counter()
    seen: list[Progress] = []

    async def mend(item: BulkItem) -> str:
        assert item.who == "ann"
        dealt_with[item.run_id] += 1
        return "mended" if item.run_id < "run-050" else "whole"

    async def begin_and_end() -> Counter[str]:
        mends = made(reader, mend)
        twice = [*RUNS, *RUNS[:3]]
        operation = await mends.begin_with("mend runs", twice, "ann", about="old ones")
        assert log.find(operation.operation_id).finished is None
        return await mends.carry_out(operation, seen.append)

    assert asyncio.run(begin_and_end()) == {"mended": 50, "whole": 50}
    assert dealt_with == Counter(RUNS)
    assert list(dealt_with) == RUNS[::-1]
    assert (seen[0][:2], seen[-1][:2]) == ((0, 100), (100, 100))
    [noted] = log.newest()
    assert (noted.kind, noted.who, noted.filter) == ("mend runs", "ann", "old ones")
    assert noted.runs == 100
    assert noted.finished is not None
    assert not noted.is_carried_out


def test_what_the_broker_does_not_take_waits_and_what_cannot_be_done_stops_no_other(
    reader: IndexReader,
) -> None:
    tries: Counter[str] = Counter()
    seen: list[Progress] = []

    async def mend(item: BulkItem) -> str:
        tries[item.run_id] += 1
        if tries[item.run_id] < 3 and item.run_id < "run-010":
            raise BrokerUnavailable("it is away")
        if item.run_id == "run-020":
            raise JTaskError("it is beyond repair")
        if item.run_id == "run-040":
            raise MessageRefused("it is too large")
        if item.run_id == "run-030":
            raise ZeroDivisionError
        return "mended"

    results = carrier(reader, [BulkAction("mend runs", mend)])(
        "mend runs", RUNS, "", lambda done, total: seen.append(Progress(done, total))
    )
    assert Counter(results.values())["mended"] == 97
    assert results["run-020"] == "it is beyond repair"
    assert results["run-040"] == "it is too large"
    assert results["run-030"].startswith("ZeroDivisionError")
    assert tries == Counter(RUNS) + Counter(dict.fromkeys(RUNS[:10], 2))


def test_one_carries_an_operation_out_and_the_next_one_when_that_is_gone(
    reader: IndexReader, log: OperationLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation = new_operation("mend runs", "", "ann")
    log.begin(operation)
    assert log.claim(operation.operation_id, "first")
    assert not log.claim(operation.operation_id, "second")
    assert log.claim(operation.operation_id, "first")  # renewed
    assert log.find(operation.operation_id).is_carried_out
    log.release(operation.operation_id, "second")  # not its own
    assert not log.claim(operation.operation_id, "second")
    log.release(operation.operation_id, "first")
    assert log.claim(operation.operation_id, "second")
    monkeypatch.setattr(operations, "CLAIM_SECONDS", -1.0)
    assert log.claim(operation.operation_id, "second")  # and is killed
    assert log.claim(operation.operation_id, "third")
    log.end(operation.operation_id, 3)
    assert not log.claim(operation.operation_id, "third")
    assert log.unfinished(["mend runs"]) == []


def test_an_operation_that_another_one_carries_out_is_left_to_it(
    reader: IndexReader, log: OperationLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "CLAIM_SECONDS", 0.05)

    async def mend(item: BulkItem) -> str:
        raise AssertionError

    operation = new_operation("mend runs", "", "ann")
    log.begin(operation, [(run_id, "") for run_id in RUNS])
    log.claim(operation.operation_id, "somebody else")
    with pytest.raises(JTaskError, match="another process carries out"):
        asyncio.run(made(reader, mend).carry_out(operation, lambda progress: None))
    unknown = new_operation("pause queue", "mails", "ann")
    with pytest.raises(JTaskError, match="do it again"):
        asyncio.run(made(reader, mend).carry_out(unknown, lambda progress: None))
    with pytest.raises(JTaskError, match="there is no operation 'x'"):
        log.find("x")


def test_a_claim_that_lapses_during_the_last_pause_is_taken(
    reader: IndexReader, log: OperationLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "CLAIM_SECONDS", 0.1)
    monkeypatch.setattr(bulk, "CLAIM_SECONDS", 0.1)
    monkeypatch.setattr(bulk, "_PAUSE", 0.2)

    async def mend(item: BulkItem) -> str:
        return "mended"

    operation = new_operation("mend runs", "", "ann")
    log.begin(operation, [("run-000", "")])
    assert log.claim(operation.operation_id, "killed")
    carried_out = made(reader, mend).carry_out(operation, lambda progress: None)
    assert asyncio.run(carried_out) == {"mended": 1}


def test_arguments_of_somebody_s_own_go_with_the_end(
    reader: IndexReader, log: OperationLog
) -> None:
    async def mend(item: BulkItem) -> str:
        assert item.arguments == '{"n":1}'
        raise IndexUnavailable("away")

    async def begin() -> str:
        mends = made(reader, mend)
        operation = await mends.begin_with("mend runs", RUNS[:1], "ann", arguments='{"n":1}')
        with pytest.raises(IndexUnavailable):
            await mends.carry_out(operation, lambda progress: None)
        return operation.operation_id

    operation_id = asyncio.run(begin())
    # It can be resumed: not ended, and nobody's.
    left = log.find(operation_id)
    assert (left.arguments, left.finished, left.is_carried_out) == ('{"n":1}', None, False)
    log.end(operation_id)
    assert log.find(operation_id).arguments == ""


@pytest.mark.parametrize(
    ("command", "given"),
    [
        (bulk_command.operations, []),
        (bulk_command.resume, ["nobody"]),
        (bulk_command.cancel, ["--task", "mend", "--dry-run"]),
        (bulk_command.rerun, ["--task", "mend", "--yes"]),
    ],
)
def test_a_command_closes_the_index_that_it_has_opened(
    command: Any, given: list[str], reader: IndexReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[IndexReader] = []
    monkeypatch.setattr(IndexReader, "open", lambda: reader)
    monkeypatch.setattr(IndexReader, "close", lambda self: closed.append(self))
    CliRunner().invoke(command, given)
    monkeypatch.undo()
    assert closed == [reader]
