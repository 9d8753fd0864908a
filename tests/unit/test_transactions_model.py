"""Random trees of blocks and tasks, with failures anywhere, against a few lines of plain Python.

The model knows one thing of each node: what it had done in it when it ended. What is committed is
committed from the inside out, what is undone is undone from the outside in, the last first.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jtask import task
from jtask.errors import CommitFailed
from jtask.execution.sync_await import await_here
from jtask_transactions import Transaction, get_transaction, transaction


class Boom(Exception):
    """Raised by the program on purpose."""


@dataclass
class Node:
    """A block, or the call of a task.

    Attributes:
        kind: Which.
        mode: The commit mode of a block; None takes the parent's.
        steps: What is done in it: other nodes, or a failure.
        hooks: Which of its hooks fail.
        is_caught: Whether whoever opens or calls it catches what it raises.
        by_hand: How it is ended by hand after its steps, if it is a block.
    """

    kind: str
    mode: str | None
    steps: "list[Node | None]"
    hooks: tuple[str, ...]
    is_caught: bool
    by_hand: str | None
    number: int = field(default_factory=itertools.count().__next__)


MODES = [None, None, None, "LAZY", "EAGER", "OFF"]
KINDS = ["block", "block", "task", "async task", "bare task"]


def nodes(steps: Any) -> Any:
    return st.builds(
        Node,
        kind=st.sampled_from(KINDS),
        mode=st.sampled_from(MODES),
        steps=steps,
        hooks=st.sampled_from([*[()] * 6, ("commit",), ("undo",), ("commit", "undo")]),
        is_caught=st.booleans(),
        by_hand=st.sampled_from([None] * 6 + ["commit", "undo"]),
    )


FAILURE_NOW_AND_THEN = st.sampled_from([0, 0, 0, 1]).map(lambda count: [None] * count)
LEAVES = nodes(FAILURE_NOW_AND_THEN)


def with_steps(inner: Any) -> Any:
    steps = st.lists(inner, min_size=1, max_size=3)
    return nodes(st.builds(list.__add__, steps, FAILURE_NOW_AND_THEN))


TREES = with_steps(st.recursive(LEAVES, with_steps, max_leaves=8))


# --- the model ---------------------------------------------------------------------------------


@dataclass
class Done:
    """Something that has ended, or is about to."""

    node: Node
    parts: "list[Done]" = field(default_factory=list)
    end: str = ""


class Model:
    """What should happen."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.ends: dict[int, str] = {}

    def play(self, node: Node, parent: Done | None, mode: str) -> None:
        """Do a node; raises what its caller would get."""
        is_block = node.kind == "block"
        mode = (node.mode if is_block else None) or mode
        me = Done(node)
        try:
            self.steps(node, me, mode)
        except (Boom, CommitFailed):
            self.undo(me, is_staged=False)
            raise
        if is_block and node.by_hand == "commit":
            self.commit(me)
        elif is_block and node.by_hand == "undo":
            self.undo(me)
        elif parent is not None and mode != "EAGER":
            parent.parts.append(me)
        elif mode == "OFF":
            self.undo(me)
        elif is_block:
            self.commit(me)
        else:
            with contextlib.suppress(CommitFailed):  # it is logged: the run keeps its value
                self.commit(me)

    def steps(self, node: Node, me: Done, mode: str) -> None:
        for step in node.steps:
            if step is None:
                raise Boom
            try:
                self.play(step, me, mode)
            except (Boom, CommitFailed):
                if not step.is_caught:
                    raise

    def commit(self, done: Done) -> None:
        if done.end:
            return
        try:
            for part in done.parts:
                self.commit(part)
            self.call(done.node, "commit")
        except (Boom, CommitFailed):
            self.undo(done)
            raise CommitFailed from None
        self.finish(done, "committed")

    def undo(self, done: Done, *, is_staged: bool = True) -> None:
        if done.end:
            return
        if is_staged:
            with contextlib.suppress(Boom):
                self.call(done.node, "undo")
        self.finish(done, "undone")
        for part in reversed(done.parts):
            self.undo(part)

    def call(self, node: Node, hook: str) -> None:
        if node.kind != "bare task":
            self.log.append(f"{hook} {node.number}")
            if hook in node.hooks:
                raise Boom

    def finish(self, done: Done, end: str) -> None:
        done.end = end
        self.ends[done.node.number] = end


# --- the real thing ----------------------------------------------------------------------------


class Program:
    """What does happen."""

    def __init__(self, *, is_async: bool) -> None:
        self.log: list[str] = []
        self.blocks: dict[int, Transaction] = {}
        self.states: dict[int, str] = {}
        self.is_async = is_async

    def run(self, root: Node) -> None:
        if self.is_async:
            asyncio.run(self.aplay(root))
        else:
            self.play(root)

    def play(self, node: Node) -> None:
        if node.kind == "block":
            with transaction(commit_mode=node.mode) as txn:
                self.steps(node)
                self.stage(txn, node)
                if node.by_hand is not None:
                    (txn.commit if node.by_hand == "commit" else txn.rollback)()
        elif node.kind == "async task":
            await_here(ASYNC_TASK(node.number))  # in another thread where there is a loop
        else:
            (TASK if node.kind == "task" else BARE_TASK)(node.number)

    async def aplay(self, node: Node) -> None:
        if node.kind == "block":
            async with transaction(commit_mode=node.mode) as txn:
                await self.asteps(node)
                self.stage(txn, node)
                if node.by_hand is not None:
                    await (txn.acommit if node.by_hand == "commit" else txn.arollback)()
        elif node.kind == "async task":
            await ASYNC_TASK(node.number)
        else:
            (TASK if node.kind == "task" else BARE_TASK)(node.number)

    def steps(self, node: Node) -> None:
        for step in node.steps:
            if step is None:
                raise Boom
            try:
                self.play(step)
            except (Boom, CommitFailed):
                if not step.is_caught:
                    raise

    async def asteps(self, node: Node) -> None:
        for step in node.steps:
            if step is None:
                raise Boom
            try:
                await self.aplay(step)
            except (Boom, CommitFailed):
                if not step.is_caught:
                    raise

    def stage(self, txn: Transaction, node: Node) -> None:
        self.blocks[node.number] = txn
        txn.set("number", node.number)
        txn.stage(None, [undo], [commit])

    def called(self, hook: str, txn: Transaction) -> None:
        number = txn.get("number")
        self.log.append(f"{hook} {number}")
        if hook in NODES[number].hooks:
            raise Boom


NODES: dict[int, Node] = {}
PROGRAMS: list[Program] = []


def commit(txn: Transaction) -> None:
    PROGRAMS[-1].called("commit", txn)


async def later_commit(txn: Transaction) -> None:
    await asyncio.sleep(0)
    commit(txn)


def undo(txn: Transaction) -> None:
    PROGRAMS[-1].called("undo", txn)


async def later_undo(txn: Transaction) -> None:
    await asyncio.sleep(0)
    undo(txn)


def note(number: int) -> None:
    txn = get_transaction()
    assert txn is not None
    txn.set("number", number)


def work(number: int) -> None:
    note(number)
    PROGRAMS[-1].steps(NODES[number])


async def awork(number: int) -> None:
    note(number)
    await PROGRAMS[-1].asteps(NODES[number])


TASK: Any = task(on_commit=[commit], on_rollback=[later_undo], name="with-hooks")(work)
BARE_TASK: Any = task(name="bare")(work)
ASYNC_TASK: Any = task(on_commit=[later_commit], on_rollback=[undo], name="asynchronous")(awork)


def all_of(node: Node) -> Iterator[Node]:
    yield node
    for step in node.steps:
        if step is not None:
            yield from all_of(step)


def outcome_of(play: Any, root: Node) -> type[BaseException] | None:
    try:
        play(root)
    except (Boom, CommitFailed) as error:
        return type(error)
    return None


@pytest.mark.parametrize("is_async", [False, True])
@settings(max_examples=150, deadline=None, database=None)
@given(root=TREES)
def test_a_tree_of_transactions_ends_as_the_model_says(root: Node, is_async: bool) -> None:
    NODES.clear()
    NODES.update({node.number: node for node in all_of(root)})
    model, program = Model(), Program(is_async=is_async)
    PROGRAMS[:] = [program]
    expected = outcome_of(lambda node: model.play(node, None, "LAZY"), root)
    assert outcome_of(program.run, root) is expected
    assert program.log == model.log
    ends = {"committed": "is_committed", "undone": "is_rolled_back"}
    for number, txn in program.blocks.items():
        assert getattr(txn, ends[model.ends[number]])(), number


@settings(max_examples=100, deadline=None, database=None)
@given(root=TREES)
def test_nothing_is_committed_or_undone_twice_and_nothing_is_both(root: Node) -> None:
    NODES.clear()
    NODES.update({node.number: node for node in all_of(root)})
    program = Program(is_async=True)
    PROGRAMS[:] = [program]
    outcome_of(program.run, root)
    assert len(program.log) == len(set(program.log))
    for number, node in NODES.items():
        both = {f"commit {number}", f"undo {number}"} <= set(program.log)
        assert not both or "commit" in node.hooks, "what is committed stands"
    left = [txn for txn in program.blocks.values() if not txn.is_over]
    assert left == []
