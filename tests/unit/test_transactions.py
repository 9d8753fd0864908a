"""Transactions without keys: what is called when, in blocks and in tasks, without a broker."""

# ruff: noqa: PT012, SIM117 - what is in a block is what is tested

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from programs import environment

from jtask import Task, runtime, task
from jtask.errors import (
    CommitFailed,
    ConfigurationError,
    NotInRun,
    ResultError,
    TaskDefinitionError,
    TransactionError,
    TransactionValueNotFound,
)
from jtask.hooks import hookimpl
from jtask.plugins import get_plugins, hooks_of
from jtask_transactions import (
    CommitMode,
    IsolationLevel,
    Transaction,
    TransactionState,
    get_transaction,
    once,
    transaction,
)
from jtask_transactions.stages import MOVES, End, check_move, end_of

S = TransactionState
Hook = Callable[[Transaction], None]


class Log:
    """Hooks that write down what they are called for."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def hook(self, label: str, error: BaseException | None = None) -> Hook:
        def write(txn: Transaction) -> None:
            self.calls.append(label)
            if error is not None:
                raise error

        return write

    def hooks(self, label: str) -> dict[str, list[Hook]]:
        """Return what `txn.stage` takes."""
        return {
            "on_commit_hooks": [self.hook(f"commit {label}")],
            "on_rollback_hooks": [self.hook(f"undo {label}")],
        }

    def task(self, name: str, error: Exception | None = None, **options: Any) -> Task[[], str]:
        """Return a task that fails or returns its name, with both hooks."""

        @task(
            name=name,
            on_commit=[self.hook(f"commit {name}")],
            on_rollback=[self.hook(f"undo {name}")],
            **options,
        )
        def work() -> str:
            self.calls.append(name)
            if error is not None:
                raise error
            return name

        return work


@pytest.fixture
def log() -> Log:
    return Log()


# --- the table, and what follows where one ends ------------------------------------------------


@pytest.mark.parametrize("current", S)
@pytest.mark.parametrize("new", S)
def test_only_the_moves_of_the_table_are_made(
    current: TransactionState, new: TransactionState
) -> None:
    legal = {
        (S.PENDING, S.ACTIVE),
        (S.PENDING, S.COMMITTED),  # its work is recorded
        (S.ACTIVE, S.STAGED),
        (S.ACTIVE, S.COMMITTED),
        (S.ACTIVE, S.ROLLED_BACK),
        (S.STAGED, S.STAGED),
        (S.STAGED, S.COMMITTED),
        (S.STAGED, S.ROLLED_BACK),
    }
    assert (new in MOVES[current]) is ((current, new) in legal)
    if (current, new) in legal:
        check_move(current, new)
    else:
        with pytest.raises(TransactionError, match=f"cannot move from {current} to {new}"):
            check_move(current, new)


@pytest.mark.parametrize("mode", CommitMode)
@pytest.mark.parametrize("has_parent", [True, False])
def test_a_failure_is_rolled_back_whatever_the_mode(mode: CommitMode, has_parent: bool) -> None:
    assert end_of(mode, failed=True, has_parent=has_parent) is End.ROLL_BACK


@pytest.mark.parametrize(
    ("mode", "alone", "inside"),
    [
        (CommitMode.LAZY, End.COMMIT, End.LEAVE),
        (CommitMode.EAGER, End.COMMIT, End.COMMIT),
        (CommitMode.OFF, End.ROLL_BACK, End.LEAVE),
    ],
)
def test_the_mode_says_who_commits(mode: CommitMode, alone: End, inside: End) -> None:
    assert end_of(mode, failed=False, has_parent=False) is alone
    assert end_of(mode, failed=False, has_parent=True) is inside


# --- blocks (Prefect's 67 to 72) ---------------------------------------------------------------


def stages(txn: Transaction) -> list[bool]:
    return [
        txn.is_pending(),
        txn.is_active(),
        txn.is_staged(),
        txn.is_committed(),
        txn.is_rolled_back(),
    ]


def only(position: int) -> list[bool]:
    return [number == position for number in range(5)]


def test_a_block_goes_through_its_stages(log: Log) -> None:
    txn = transaction()
    assert stages(txn) == only(0)
    with txn as entered:
        assert entered is txn
        assert get_transaction() is txn
        assert stages(txn) == only(1)
        txn.stage("value", **log.hooks("it"))
        assert (stages(txn), txn.staged_value) == (only(2), "value")
    assert stages(txn) == only(3)
    assert get_transaction() is None
    assert log.calls == ["commit it"]


def test_the_same_block_is_asynchronous_too(log: Log) -> None:
    seen: list[Any] = []

    async def later(txn: Transaction) -> None:
        await asyncio.sleep(0)
        seen.append(asyncio.get_running_loop())

    async def main() -> None:
        async with transaction() as txn:
            txn.stage(1, on_commit_hooks=[later, log.hook("plain")])
        assert txn.is_committed()
        assert seen == [asyncio.get_running_loop()]
        with pytest.raises(ValueError, match="no"):
            async with transaction() as failing:
                failing.stage(1, [log.hook("undo"), later])
                raise ValueError("no")
        assert failing.is_rolled_back()

    asyncio.run(main())
    assert log.calls == ["plain", "undo"]
    assert len(seen) == 2


def test_a_plain_block_waits_for_asynchronous_hooks_in_and_outside_of_a_loop() -> None:
    called: list[str] = []

    async def later(txn: Transaction) -> None:
        await asyncio.sleep(0)
        called.append("later")

    def block() -> None:
        with transaction() as txn:
            txn.stage(1, on_commit_hooks=[later])

    async def main() -> None:
        block()

    block()
    asyncio.run(main())
    assert called == ["later", "later"]


def test_nested_blocks_commit_when_the_outermost_ends_the_inner_ones_first(log: Log) -> None:
    with transaction() as outer:
        with transaction() as first:
            first.stage(1, **log.hooks("first"))
            with transaction() as deep:
                deep.stage(1, **log.hooks("deep"))
        with transaction() as second:
            second.stage(1, **log.hooks("second"))
        outer.stage(1, **log.hooks("outer"))
        assert (deep.parent, first.parent, outer.parent) == (first, outer, None)
        assert log.calls == []
        assert first.is_staged()
    assert log.calls == ["commit deep", "commit first", "commit second", "commit outer"]
    assert all(txn.is_committed() for txn in (outer, first, deep, second))


def test_an_exception_undoes_the_own_hooks_and_then_the_children_the_last_first(log: Log) -> None:
    with pytest.raises(ValueError, match="no"), transaction() as outer:
        outer.stage(1, [log.hook("outer 1"), log.hook("outer 2")])
        for name in ("first", "second"):
            with transaction() as inner:
                inner.stage(1, [log.hook(f"{name} 1"), log.hook(f"{name} 2")])
        raise ValueError("no")
    assert log.calls == ["outer 2", "outer 1", "second 2", "second 1", "first 2", "first 1"]
    assert outer.is_rolled_back()
    assert [child.is_rolled_back() for child in outer.children] == [True, True]


def test_an_exception_that_leaves_an_inner_block_undoes_the_outer_one_too(log: Log) -> None:
    with pytest.raises(ValueError, match="no"), transaction() as outer:
        outer.stage(1, **log.hooks("outer"))
        with transaction() as inner:
            inner.stage(1, **log.hooks("inner"))
            raise ValueError("no")
    assert log.calls == ["undo inner", "undo outer"]


def test_one_that_is_caught_inside_the_outer_block_undoes_the_inner_one_only(log: Log) -> None:
    with transaction() as outer:
        outer.stage(1, **log.hooks("outer"))
        with pytest.raises(ValueError, match="no"), transaction() as inner:
            inner.stage(1, **log.hooks("inner"))
            raise ValueError("no")
    assert log.calls == ["undo inner", "commit outer"]


def test_what_was_not_staged_has_nothing_to_undo(log: Log) -> None:
    with pytest.raises(ValueError, match="no"), transaction() as txn:
        raise ValueError("no")
    assert txn.is_rolled_back()
    assert txn.rollback_hooks == []


def test_an_eager_block_is_committed_at_its_end_and_stays_so(log: Log) -> None:
    with pytest.raises(ValueError, match="no"), transaction() as outer:
        with transaction(commit_mode="EAGER") as inner:
            inner.stage(1, **log.hooks("inner"))
        assert inner.is_committed()
        outer.stage(1, **log.hooks("outer"))
        raise ValueError("no")
    assert log.calls == ["commit inner", "undo outer"]
    assert inner.is_committed()


def test_the_mode_and_the_isolation_are_those_of_the_parent_unless_given() -> None:
    with (
        transaction(commit_mode=CommitMode.EAGER, isolation_level="SERIALIZABLE"),
        transaction() as inner,
        transaction(commit_mode="LAZY", isolation_level="READ_COMMITTED") as deep,
    ):
        assert inner.commit_mode is CommitMode.EAGER
        assert inner.isolation_level is IsolationLevel.SERIALIZABLE
        assert deep.commit_mode is CommitMode.LAZY
        assert deep.isolation_level is IsolationLevel.READ_COMMITTED
    alone = transaction()
    assert alone.commit_mode is CommitMode.LAZY
    assert alone.isolation_level is IsolationLevel.READ_COMMITTED


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_block_that_is_off_is_undone_unless_it_is_committed_by_hand(
    log: Log, by_hand: bool
) -> None:
    with transaction(commit_mode="OFF") as txn:
        txn.stage(1, **log.hooks("it"))
        if by_hand:
            assert txn.commit()
            assert not txn.commit()
    assert log.calls == (["commit it"] if by_hand else ["undo it"])
    assert not txn.rollback()


def test_a_block_is_rolled_back_by_hand_on_a_loop_too(log: Log) -> None:
    async def main() -> None:
        async with transaction() as txn:
            txn.stage(1, **log.hooks("it"))
            assert await txn.arollback()
            assert not await txn.acommit()
        assert txn.is_rolled_back()

    asyncio.run(main())
    assert log.calls == ["undo it"]


def test_a_rollback_hook_that_fails_keeps_no_other_from_being_called(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="the cause"), transaction() as txn:
        with transaction() as inner:
            inner.stage(1, [log.hook("inner")])
        hooks = [log.hook("first"), log.hook("failing", KeyError("hook")), log.hook("last")]
        txn.stage(1, hooks)
        raise ValueError("the cause")
    assert log.calls == ["last", "failing", "first", "inner"]
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "the rollback hook write of a transaction failed" in record.getMessage()


def test_a_commit_hook_that_fails_rolls_back_and_says_so(log: Log) -> None:
    with pytest.raises(CommitFailed, match="rolled back: ValueError: no") as caught:
        with transaction() as outer:
            with transaction() as first:
                first.stage(1, **log.hooks("first"))
            with transaction() as second:
                second.stage(1, [log.hook("undo second")], [log.hook("failing", ValueError("no"))])
            with transaction() as third:
                third.stage(1, **log.hooks("third"))
            outer.stage(1, **log.hooks("outer"))
    assert isinstance(caught.value.__cause__, ValueError)
    assert log.calls == [
        "commit first",
        "failing",
        "undo second",
        "undo outer",
        "undo third",
    ]
    assert first.is_committed()  # what is committed stands
    assert second.is_rolled_back()
    assert third.is_rolled_back()
    assert outer.is_rolled_back()


def test_values_are_copies_and_are_read_through_to_the_parent() -> None:
    given = {"a": [1]}
    with transaction() as outer:
        outer.set("it", given)
        given["a"].append(2)
        with transaction() as inner:
            got = inner.get("it")
            assert got == {"a": [1]}
            got["a"].append(3)
            inner.set("own", 1)
            assert inner.get("it") == {"a": [1]}
        with pytest.raises(TransactionValueNotFound, match="has no value 'own'"):
            outer.get("own")
        assert outer.get("own", None) is None
    assert issubclass(TransactionValueNotFound, ValueError)


def test_hooks_get_the_transaction_with_its_values() -> None:
    got: list[Any] = []
    with transaction() as outer:
        outer.set("name", "value")
        with transaction() as inner:
            inner.stage(1, on_commit_hooks=[lambda txn: got.append((txn, txn.get("name")))])
    assert got == [(inner, "value")]


def test_hooks_are_in_no_transaction_and_what_they_call_is_not_undone(log: Log) -> None:
    refund, inside = log.task("refund"), []

    def undo(txn: Transaction) -> None:
        inside.append(get_transaction())
        refund()

    with pytest.raises(ValueError, match="no"), transaction() as txn:
        txn.stage(1, [undo])
        raise ValueError("no")
    assert log.calls == ["refund", "commit refund"]
    assert inside == [None]


def test_a_block_is_entered_once() -> None:
    txn = transaction()
    with txn:
        with pytest.raises(TransactionError, match="make another one"), txn:
            pass
        assert get_transaction() is txn
    with pytest.raises(TransactionError, match="make another one"), txn:
        pass


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"key": 3}, "a text, not 3"),
        ({"key": ""}, "1 to 2000 characters"),
        ({"commit_mode": "SOON"}, "SOON"),
        ({"isolation_level": "DIRTY"}, "DIRTY"),
    ],
)
def test_wrong_arguments_are_refused_where_they_are_given(
    arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        transaction(**arguments)


def test_hooks_that_cannot_be_called_are_refused_where_they_are_given() -> None:
    with pytest.raises(TaskDefinitionError, match="option 'on_commit': must be a list"):
        task(on_commit=print)(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(TaskDefinitionError, match=r"cannot be called with \(txn\)"):
        task(on_rollback=[lambda: None])(lambda: None)  # type: ignore[call-overload]
    with transaction() as txn, pytest.raises(TypeError, match="must be a list"):
        txn.stage(1, on_commit_hooks=print)  # type: ignore[arg-type]


def test_without_the_plugin_a_block_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_plugins(), "headers", {})
    with pytest.raises(ConfigurationError, match="name it in JTASK_PLUGINS"), transaction():
        pass


# --- tasks as members --------------------------------------------------------------------------


class States:
    """Writes down the states of all runs, by task."""

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = {}

    @hookimpl
    def jtask_state(self, run: Any, state: Any) -> None:
        self.of.setdefault(run.task_name, []).append(state.name.value)

    @hookimpl
    def jtask_settled(self, run: Any, outcome: Any) -> None:
        self.of[run.task_name].append(f"settled {outcome.state.name.value}")


@pytest.fixture
def states(jtask_plugin: Callable[[object], None]) -> States:
    plugin = States()
    jtask_plugin(plugin)
    return plugin


BEGUN = ["Pending", "Running"]


def test_a_task_commits_with_the_block_that_calls_it(log: Log, states: States) -> None:
    work, bare = log.task("work"), task(name="bare")(lambda: 1)
    with transaction():
        assert work() == "work"
        assert bare() == 1
        assert log.calls == ["work"]
        assert states.of["work"] == states.of["bare"] == [*BEGUN, "Completed"]
    assert log.calls == ["work", "commit work"]
    assert states.of["work"] == [*BEGUN, "Completed", "settled Completed"]
    assert states.of["bare"] == states.of["work"]


def test_a_run_that_is_undone_is_rolled_back(log: Log, states: States) -> None:
    first, second, bare = log.task("first"), log.task("second"), task(name="bare")(lambda: 1)
    with pytest.raises(ValueError, match="no"), transaction():
        first()
        bare()
        second()
        raise ValueError("no")
    assert log.calls == ["first", "second", "undo second", "undo first"]
    end = [*BEGUN, "Completed", "RolledBack", "settled RolledBack"]
    assert states.of == {"first": end, "second": end, "bare": end}


def test_a_task_that_fails_has_nothing_to_undo_itself(log: Log, states: States) -> None:
    done, failing = log.task("done"), log.task("failing", ValueError("no"))
    with pytest.raises(ValueError, match="no"), transaction():
        done()
        failing()
    assert log.calls == ["done", "failing", "undo done"]
    assert states.of["failing"] == [*BEGUN, "Failed", "settled Failed"]


def test_a_task_is_a_transaction_of_its_own_where_there_is_no_block(
    log: Log, states: States
) -> None:
    inner, failing = log.task("inner"), log.task("failing", ValueError("no"))

    @task(name="outer")
    def outer(fail: bool) -> None:
        inner()
        if fail:
            failing()

    outer(False)
    assert log.calls == ["inner", "commit inner"]
    with pytest.raises(ValueError, match="no"):
        outer(True)
    assert log.calls[2:] == ["inner", "failing", "undo inner"]
    assert states.of["inner"][-2:] == ["RolledBack", "settled RolledBack"]


def test_tasks_between_pass_it_on(log: Log, states: States) -> None:
    inner = log.task("inner")

    @task(name="middle")
    def middle(fail: bool) -> None:
        inner()
        if fail:
            raise ValueError("in the middle")

    @task(name="outer")
    def outer(*, fails: bool, fail: bool = False) -> None:
        middle(fails)
        assert log.calls == ["inner"]
        if fail:
            raise ValueError("outside")

    with pytest.raises(ValueError, match="in the middle"):
        outer(fails=True)
    assert log.calls == ["inner", "undo inner"]
    log.calls.clear()
    with pytest.raises(ValueError, match="outside"):
        outer(fails=False, fail=True)
    assert log.calls == ["inner", "undo inner"]
    log.calls.clear()
    outer(fails=False)
    assert log.calls == ["inner", "commit inner"]


def test_what_an_attempt_did_that_is_retried_is_undone(log: Log) -> None:
    inner, tries = log.task("inner"), iter([True, False])

    @task(retries=1)
    def outer() -> None:
        inner()
        if next(tries):
            raise ValueError("once more")

    with transaction():
        outer()
    assert log.calls == ["inner", "undo inner", "inner", "commit inner"]


def test_the_retry_of_an_inner_task_undoes_nothing_of_the_outer_one(log: Log) -> None:
    done, tries = log.task("done"), iter([True, False])

    @task(retries=1, on_rollback=[log.hook("undo retried")])
    def retried() -> None:
        if next(tries):
            raise ValueError("once more")

    with transaction():
        done()
        retried()
    assert log.calls == ["done", "commit done"]


def test_hooks_are_added_by_decorators_and_see_the_run(log: Log) -> None:
    @task
    def work(number: int) -> int:
        txn = get_transaction()
        assert txn is not None
        txn.set("number", number)
        return number

    @work.on_commit
    def stand(txn: Transaction) -> None:
        log.calls.append(f"commit {txn.get('number')} {txn.staged_value} {runtime.task_name}")

    @work.on_rollback
    async def undo(txn: Transaction) -> None:
        await asyncio.sleep(0)
        log.calls.append(f"undo {txn.get('number')} {runtime.task_name}")

    assert work(1) == 1
    with pytest.raises(ValueError, match="no"), transaction():
        work(2)
        raise ValueError("no")
    assert log.calls == ["commit 1 1 work", "undo 2 work"]


def test_asynchronous_tasks_are_members_and_their_hooks_are_on_their_loop(log: Log) -> None:
    loops: list[Any] = []

    @task
    async def work(name: str) -> str:
        await asyncio.sleep(0)
        return name

    @work.on_rollback
    async def undo(txn: Transaction) -> None:
        loops.append(asyncio.get_running_loop())
        log.calls.append(f"undo {txn.staged_value}")

    @work.on_commit
    def stand(txn: Transaction) -> None:
        log.calls.append(f"commit {txn.staged_value}")

    async def main() -> None:
        with pytest.raises(ValueError, match="no"):
            async with transaction():
                await asyncio.gather(work("a"), work("b"))
                raise ValueError("no")
        assert loops == [asyncio.get_running_loop()] * 2
        async with transaction():
            await work("c")
        await work("d")
        with transaction():
            await work("e")

    asyncio.run(main())
    assert sorted(log.calls[:2]) == ["undo a", "undo b"]
    assert log.calls[2:] == ["commit c", "commit d", "commit e"]


def test_a_run_whose_commit_fails_is_rolled_back_and_keeps_its_value(
    log: Log, states: States, caplog: pytest.LogCaptureFixture
) -> None:
    @task(
        name="work",
        on_commit=[log.hook("failing", KeyError("mail"))],
        on_rollback=[log.hook("undo")],
    )
    def work() -> int:
        return 1

    assert work() == 1
    assert log.calls == ["failing", "undo"]
    assert states.of["work"] == [*BEGUN, "Completed", "RolledBack", "settled RolledBack"]
    assert "could not be committed and was rolled back: KeyError: 'mail'" in caplog.text


def test_a_run_that_ends_after_its_transaction_ends_as_that_did(log: Log) -> None:
    go_on, began = threading.Event(), threading.Barrier(3)

    @task
    def slow(name: str) -> str:
        began.wait(20)
        assert go_on.wait(20)
        return name

    @slow.on_commit
    def stand(txn: Transaction) -> None:
        log.calls.append(f"commit {txn.staged_value}")

    @slow.on_rollback
    def undo(txn: Transaction) -> None:
        log.calls.append(f"undo {txn.staged_value}")

    async def main() -> None:
        async with transaction():
            stands = asyncio.create_task(asyncio.to_thread(slow, "a"))
            await asyncio.sleep(0)
        with pytest.raises(ValueError, match="no"):
            async with transaction():
                undone = asyncio.create_task(asyncio.to_thread(slow, "b"))
                await asyncio.sleep(0)
                raise ValueError("no")
        await asyncio.to_thread(began.wait, 20)
        go_on.set()
        assert await asyncio.gather(stands, undone) == ["a", "b"]

    asyncio.run(main())
    assert sorted(log.calls) == ["commit a", "undo b"]


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_a_run_ends_as_its_transaction_was_ended_from_inside(
    log: Log, states: States, how: str
) -> None:
    inner = log.task("inner")

    @task(name="outer", on_commit=[log.hook("commit")], on_rollback=[log.hook("rollback")])
    def outer() -> None:
        inner()
        txn = get_transaction()
        assert txn is not None
        assert getattr(txn, how)()

    outer()
    word = {"commit": "commit inner", "rollback": "undo inner"}[how]
    assert log.calls == ["inner", word, how]
    assert ("RolledBack" in states.of["outer"]) is (how == "rollback")


def test_a_task_that_has_nothing_to_do_with_it_costs_nothing() -> None:
    @task
    def plain() -> Transaction | None:
        return None

    hooks = hooks_of(plain)
    assert hooks.completed is None
    told = [*hooks.state.values(), *hooks.settled.values()]
    asked = [hooks.around, hooks.attempt_over, *told]
    for caller in asked:
        names = [] if caller is None else [one.plugin for one in caller.implementations]
        assert "transactions" not in names


def test_transactions_without_a_key_need_no_broker() -> None:
    program = """
from jtask import task
from jtask_transactions import get_transaction, once, transaction

@task(on_rollback=[lambda txn: print("undone")])
def work():
    return once("step", lambda: 1)

try:
    with transaction():
        assert work() == 1
        raise ValueError
except ValueError:
    pass
import jtask.client
assert jtask.client.current_client() is None
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(JTASK_URL="nats://127.0.0.1:9", JTASK_RECORD_DIRECT_CALLS="off"),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "undone\n"), done.stderr


# --- steps in direct calls ---------------------------------------------------------------------


def test_a_step_is_done_once_in_a_run_and_again_in_another(log: Log) -> None:
    tries = iter([True, False, False])

    @task(retries=1)
    def work() -> int:
        value = once("count", lambda: len(log.calls))
        log.calls.append("attempt")
        assert once("count", lambda: -1) == value
        if next(tries):
            raise ValueError("once more")
        return value

    assert (work(), log.calls) == (0, ["attempt", "attempt"])
    assert work() == 2


def test_a_step_that_is_called_where_it_should_be_given_is_refused() -> None:
    async def work() -> int:
        return 1

    @task
    def wrong(called: Any) -> object:
        return once("k", called)

    for called, shown in ((5, "5"), (work(), "<coroutine object")):
        with pytest.raises(TypeError, match=rf"not {shown}.*without calling the function"):
            wrong(called)


def test_a_value_that_cannot_be_copied_is_named() -> None:
    with (
        transaction() as txn,
        pytest.raises(TypeError, match=r"'lock' of a transaction cannot be copied \("),
    ):
        txn.set("lock", threading.Lock())


def test_a_step_that_raises_records_nothing() -> None:
    @task
    def work() -> int:
        with pytest.raises(ValueError, match="no"):
            once("step", int, "no")
        return once("step", int, "7")

    assert work() == 7


def test_a_coroutine_function_is_a_step_that_is_awaited() -> None:
    async def double(number: int, *, plus: int = 0) -> int:
        await asyncio.sleep(0)
        return 2 * number + plus

    @task
    async def work() -> list[int]:
        return [await once("a", double, 2, plus=1), await once("a", double, 100)]

    assert asyncio.run(work()) == [5, 5]


def test_a_step_gives_what_was_recorded_the_first_time_too() -> None:
    def pair() -> tuple[int, list[int]]:
        return made

    made = (1, [2])

    @task
    def work() -> list[Any]:
        return [once("pair", pair), once("pair", pair)]

    first, second = work()
    assert first == second == made
    first[1].append(3)
    assert second == made


def test_two_threads_that_do_a_step_at_once_get_the_value_that_was_recorded_first() -> None:
    both_execute = threading.Barrier(2)

    def number() -> int:
        return both_execute.wait(20)

    @task
    async def work() -> list[int]:
        return await asyncio.gather(*[asyncio.to_thread(once, "n", number) for _ in range(2)])

    first, second = asyncio.run(work())
    assert first == second


def test_wrong_steps_are_refused_in_a_sentence() -> None:
    async def later() -> int:
        return 1

    @task
    def work(key: Any, fn: Any) -> Any:
        return once(key, fn)

    with pytest.raises(NotInRun, match="elsewhere use `with transaction"):
        once("step", lambda: 1)
    with pytest.raises(TypeError, match="a text, not 3"):
        work(3, lambda: 1)
    with pytest.raises(ValueError, match="1 to 2000 characters"):
        work("", lambda: 1)
    with pytest.raises(TypeError, match="pass the coroutine function itself"):
        work("step", lambda: later())
    with pytest.raises(ResultError, match="the value of step 'step' of run"):
        work("step", object)


def test_the_plugin_is_loaded_without_what_only_transactions_need() -> None:
    program = """
import sys
from jtask.plugins import get_plugins
assert "transactions" in get_plugins().names
assert "jtask_transactions.tree" not in sys.modules
from jtask_transactions import transaction
assert "jtask_transactions.tree" in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
