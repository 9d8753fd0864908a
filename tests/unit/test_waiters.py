"""Which runs wait for which, and what begins next in a worker meanwhile."""

import asyncio
from collections.abc import Collection
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_loop import VirtualLoop

from jtask.execution.job import Job
from jtask.worker.lineup import Lineup
from jtask.worker.loans import Loans
from jtask.worker.slots import SlotPool
from jtask.worker.suspects import Suspects
from jtask.worker.waiters import Waiters
from jtask_memory import VirtualClock


def test_a_run_is_one_deeper_than_the_deepest_that_waits_for_it() -> None:
    waiters = Waiters(10)
    assert waiters.depth_of("a") == 0
    waiters.add("root", ("a", "b"))
    waiters.add("a", frozenset({"c"}))
    assert [waiters.depth_of(run) for run in ("a", "b", "c", "d")] == [1, 1, 2, 0]
    waiters.forget("a")
    assert waiters.depth_of("c") == 0


def test_a_run_waits_until_the_last_of_its_waits_is_over() -> None:
    waiters = Waiters(10)
    first, second = ("a",), ("b",)
    assert waiters.add("root", first)
    assert not waiters.add("root", second)
    assert not waiters.remove("root", first)
    assert (waiters.depth_of("a"), waiters.depth_of("b")) == (0, 1)
    assert waiters.remove("root", second)
    assert not waiters.remove("root", second)
    assert not waiters.forget("root")
    assert len(waiters) == 0


def test_only_what_is_deeper_may_begin_once_too_many_wait() -> None:
    waiters = Waiters(2)
    waiters.add("x", ("a",))
    assert waiters.may_begin(0)
    waiters.add("y", ("b",))
    assert [waiters.may_begin(depth) for depth in (0, 1)] == [False, True]
    waiters.add("a", ("c",))
    waiters.add("b", ("d",))
    assert [waiters.may_begin(depth) for depth in (0, 1, 2)] == [False, False, True]
    waiters.forget("a")
    assert [waiters.may_begin(depth) for depth in (0, 1, 2)] == [False, True, True]


# --- what begins --------------------------------------------------------------------------------


class Delivered:
    lost_workers = 0
    priority = 0
    token = None

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id


class Stub:
    """The part of a job that matters here."""

    isolate = None

    def __init__(self, run_id: str) -> None:
        self.delivery = Delivered(run_id)

    def __repr__(self) -> str:
        return self.delivery.run_id


class Runners:
    """How many more than at first the runners execute."""

    extra = 0

    def resize(self, job: Job, by: int) -> None:
        self.extra += by


class Stage:
    """A lineup of a worker whose runs end when a test says so."""

    def __init__(self, slots: int, limit: int) -> None:
        self.runners: Any = Runners()
        self.pool, suspects = SlotPool(slots, 0), Suspects(3)
        loans = Loans(self.pool, self.runners, suspects, Waiters(limit))
        self.credit = slots
        self.begun: dict[str, Job] = {}
        self.lineup = Lineup(self.pool, suspects, loans, self._begin, self._set_credit)

    def _begin(self, job: Job) -> None:
        self.begun[job.delivery.run_id] = job

    def _set_credit(self, credit: int) -> None:
        self.credit = credit

    def add(self, *run_ids: str) -> None:
        for run_id in run_ids:
            self.lineup.add(cast("Job", Stub(run_id)))

    def wait(self, run_id: str, awaited: Collection[str]) -> None:
        self.lineup.note_wait(self.begun[run_id], 1, awaited)

    def go_on(self, run_id: str, awaited: Collection[str]) -> None:
        self.lineup.note_wait(self.begun[run_id], -1, awaited)

    def end(self, run_id: str) -> None:
        self.lineup.ended([self.begun.pop(run_id)])

    def waiting(self) -> list[str]:
        return [job.delivery.run_id for job in self.lineup.waiting()]


def in_no_time(coroutine: Any) -> Any:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(VirtualClock(0.0))) as runner:
        return runner.run(coroutine)


def test_a_run_that_waits_lets_another_begin_and_goes_on_beside_it() -> None:
    async def main() -> None:
        stage = Stage(slots=1, limit=10)
        stage.add("a", "b", "c")
        assert list(stage.begun) == ["a"]
        stage.wait("a", ("x",))
        assert list(stage.begun) == ["a", "b"]
        assert (stage.credit, stage.runners.extra) == (2, 1)
        stage.go_on("a", ("x",))
        assert (stage.credit, stage.runners.extra) == (1, 0)
        stage.end("a")
        assert list(stage.begun) == ["b"]
        stage.end("b")
        assert list(stage.begun) == ["c"]

    in_no_time(main())


def test_the_end_of_a_run_that_waits_gives_back_what_was_lent() -> None:
    async def main() -> None:
        stage = Stage(slots=1, limit=10)
        stage.add("a", "b", "c")
        stage.wait("a", ("x",))
        stage.end("a")
        assert list(stage.begun) == ["b"]
        assert (stage.credit, stage.runners.extra) == (1, 0)

    in_no_time(main())


def test_what_is_waited_for_begins_before_what_came_earlier() -> None:
    async def main() -> None:
        stage = Stage(slots=2, limit=10)
        stage.add("a", "busy", "b", "child")
        stage.wait("a", ("child",))
        assert list(stage.begun) == ["a", "busy", "child"]
        stage.add("c", "grandchild")
        stage.wait("child", ("grandchild",))
        assert list(stage.begun)[3:] == ["grandchild"]
        stage.add("second")
        stage.wait("busy", ("second",))
        assert list(stage.begun)[4:] == ["second"]
        assert stage.waiting() == ["b", "c"]

    in_no_time(main())


def test_what_nobody_waits_for_is_put_off_and_held_while_too_many_wait() -> None:
    async def main() -> None:
        stage = Stage(slots=1, limit=3)
        for n in range(3):
            stage.add(f"parent{n}")
            stage.wait(f"parent{n}", (f"child{n}",))
        stage.add("parent3", "parent4")
        assert stage.waiting() == ["parent3", "parent4"]
        # One more than can begin: so what is behind them comes to be known.
        assert stage.credit - len(stage.begun) - len(stage.waiting()) == 1
        stage.add("child0")
        assert "child0" in stage.begun
        stage.end("child0")
        stage.go_on("parent0", ("child0",))
        stage.end("parent0")
        assert stage.waiting() == ["parent4"]

    in_no_time(main())


def test_what_is_put_off_begins_where_nothing_else_happens() -> None:
    async def main() -> None:
        stage = Stage(slots=1, limit=1)
        stage.add("parent", "a", "b")
        stage.wait("parent", ("elsewhere",))
        assert stage.waiting() == ["a", "b"]
        await asyncio.sleep(1.0)
        assert stage.waiting() == ["b"]  # `a` has the slot now
        stage.lineup.close()

    in_no_time(main())


def test_the_more_wait_the_more_rarely_does_one_begin_that_is_put_off() -> None:
    async def main() -> None:
        stage = Stage(slots=1, limit=1)
        stage.add("run0", *(f"run{n}" for n in range(1, 500)))
        waits = 0
        for _ in range(100):
            while waits < len(stage.begun):
                stage.wait(f"run{waits}", ("elsewhere",))
                waits += 1
            await asyncio.sleep(1.0)
        assert 5 < waits < 20
        stage.lineup.close()

    in_no_time(main())


def test_more_than_can_be_held_is_not_put_off() -> None:
    async def main() -> None:
        stage = Stage(slots=1, limit=1)
        stage.add("parent")
        stage.wait("parent", ("elsewhere",))
        stage.add(*(f"run{n}" for n in range(1001)))
        assert len(stage.begun) == 2
        stage.lineup.close()

    in_no_time(main())


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 30), st.integers(0, 4), st.randoms())
def test_whatever_the_limits_runs_that_wait_for_runs_end(
    slots: int, limit: int, parents: int, depth: int, chance: Any
) -> None:
    """Each run wants one more run until it is deep enough; parents come first, as in one queue."""

    async def main() -> None:
        stage = Stage(slots, limit)
        queue = [f"{n}.0" for n in range(parents)]
        parent_of: dict[str, str] = {}
        waiting = set[str]()
        ended = 0
        while ended < parents * (depth + 1):
            while queue and len(stage.begun) + len(stage.waiting()) < stage.credit:
                stage.add(queue.pop(0))
            ready = [run for run in stage.begun if run not in waiting]
            if not ready:
                await asyncio.sleep(0.2)
                continue
            run = chance.choice(ready)
            name, _, level = run.partition(".")
            child = f"{name}.{int(level) + 1}"
            if int(level) < depth and child not in parent_of:
                parent_of[child] = run
                queue.append(child)
                waiting.add(run)
                stage.wait(run, (child,))
                continue
            stage.end(run)
            ended += 1
            if (parent := parent_of.get(run)) is not None:
                waiting.discard(parent)
                stage.go_on(parent, (run,))
        assert stage.runners.extra == 0
        stage.lineup.close()

    in_no_time(main())


@pytest.mark.parametrize("runs", [3, 50])
def test_the_credit_is_as_before_once_nobody_waits(runs: int) -> None:
    async def main() -> None:
        stage = Stage(slots=2, limit=2)
        for n in range(runs):
            stage.add(f"run{n}")
        for n in range(2):
            stage.wait(f"run{n}", ("elsewhere",))
        for n in range(2):
            stage.go_on(f"run{n}", ("elsewhere",))
        for n in range(runs):
            stage.end(f"run{n}")
        assert (stage.credit, stage.begun, stage.waiting()) == (2, {}, [])
        stage.lineup.close()

    in_no_time(main())
