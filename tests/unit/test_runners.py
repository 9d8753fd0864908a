"""The threads in which runs are executed, and their end."""

import asyncio
import queue
import threading
from collections import Counter
from typing import Any, cast

import pytest
from waiting import eventually

from jtask.execution.job import Job
from jtask.lifecycle import Finish
from jtask.states import StateName
from jtask.worker.runners import LoopRunner, ThreadRunner

PATIENCE = 20.0  # seconds


RUNNERS = pytest.mark.parametrize("kind", [LoopRunner, ThreadRunner])


class StubDelivery:
    run_id = "01937789-0000-7000-8000-000000000001"


class Stub:
    is_abandoned = False
    delivery = StubDelivery()

    def __init__(self, decision: Finish | None) -> None:
        self.decision = decision


def job(decision: Finish | None = None) -> Job:
    return cast("Job", Stub(decision))


class Gate:
    """Jobs that say when they begin and end when they are let go, on loops and in threads alike."""

    def __init__(self) -> None:
        self.begun: list[object] = []
        self.executing = 0
        self.most = 0
        self.changed = threading.Condition()
        self.open = 0

    async def perform(self, one: Job) -> None:
        on_loop = threading.current_thread().name == "jtask-tasks"
        with self.changed:
            self.begun.append(one)
            self.executing += 1
            self.most = max(self.most, self.executing)
            self.changed.notify_all()
        if on_loop:
            while not self._may_end():
                await asyncio.sleep(0.001)
        else:
            with self.changed:
                assert self.changed.wait_for(self._may_end, PATIENCE)
        with self.changed:
            self.executing -= 1
            self.changed.notify_all()

    def _may_end(self) -> bool:
        with self.changed:
            if self.open <= 0:
                return False
            self.open -= 1
            return True

    def let_end(self, count: int) -> None:
        with self.changed:
            self.open += count
            self.changed.notify_all()

    def until_begun(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.begun) >= count, PATIENCE)

    def until_idle(self) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: not self.executing, PATIENCE)


def start(kind: Any, gate: Gate, size: int) -> Any:
    told = (print, print) if kind is LoopRunner else ()
    return kind(gate.perform, size, *told)


@RUNNERS
def test_a_runner_keeps_to_its_size_and_to_the_order(kind: Any) -> None:
    gate, jobs = Gate(), [job() for _ in range(7)]
    runner = start(kind, gate, 2)
    for one in jobs:
        runner.submit(one)
    gate.until_begun(2)
    gate.let_end(7)
    gate.until_begun(7)
    gate.until_idle()
    assert gate.most == 2
    assert Counter(map(id, gate.begun)) == Counter(map(id, jobs))
    if kind is LoopRunner:
        assert gate.begun == jobs


@RUNNERS
def test_what_has_not_begun_can_be_taken_back_and_what_has_cannot(kind: Any) -> None:
    gate, first, second, third = Gate(), job(), job(), job()
    runner = start(kind, gate, 1)
    for one in (first, second, third):
        runner.submit(one)
    gate.until_begun(1)
    assert not runner.take_back(first)
    assert runner.take_back(second)
    assert not runner.take_back(second)
    gate.let_end(2)
    gate.until_begun(2)
    gate.until_idle()
    assert gate.begun == [first, third]


@RUNNERS
def test_all_that_has_not_begun_can_be_taken_back_at_once(kind: Any) -> None:
    gate, jobs = Gate(), [job() for _ in range(5)]
    runner = start(kind, gate, 1)
    for one in jobs:
        runner.submit(one)
    gate.until_begun(1)
    assert runner.take_back_all() == jobs[1:]
    last = job()
    runner.submit(last)
    gate.let_end(2)
    gate.until_begun(2)
    assert gate.begun == [jobs[0], last]


@RUNNERS
def test_what_only_has_to_be_settled_waits_for_nothing_that_executes(kind: Any) -> None:
    gate, blocks, settled = Gate(), job(), job(Finish(StateName.CANCELLED))
    runner = start(kind, gate, 1)
    runner.submit(blocks)
    gate.until_begun(1)
    runner.submit(job())
    runner.submit(settled)
    gate.until_begun(2)
    assert gate.begun == [blocks, settled]
    gate.let_end(3)
    gate.until_begun(3)


@RUNNERS
def test_a_runner_that_grows_begins_what_waits_and_shrinks_to_its_size(kind: Any) -> None:
    gate, jobs = Gate(), [job() for _ in range(12)]
    runner = start(kind, gate, 1)
    for one in jobs:
        runner.submit(one)
    gate.until_begun(1)
    runner.resize(+1)
    gate.until_begun(2)
    runner.resize(+1)
    gate.until_begun(3)
    assert gate.most == 3
    runner.resize(-1)
    runner.resize(-1)
    gate.let_end(2)  # which are over the size: nothing begins in their place
    eventually(lambda: gate.executing == 1)
    gate.most = 0
    for count in range(4, 13):
        gate.let_end(1)
        gate.until_begun(count)
    gate.let_end(1)
    gate.until_idle()
    assert gate.most == 1


@pytest.mark.parametrize("idle", [True, False])
def test_threads_beyond_the_size_end(idle: bool) -> None:
    before = threading.active_count()
    gate = Gate()
    runner = start(ThreadRunner, gate, 1)
    for count in range(1, 6):
        runner.submit(job())
        gate.until_begun(count)
        runner.resize(+1)
    if idle:
        gate.let_end(5)
        gate.until_idle()
    runner.resize(-5)
    if not idle:
        gate.let_end(5)
        gate.until_idle()
    # One that has nothing to do looks when there is something again.
    for count in range(6, 12):
        gate.let_end(1)
        runner.submit(job())
        gate.until_begun(count)
        gate.until_idle()
    eventually(lambda: threading.active_count() <= before + 1)
    asyncio.run(runner.close(0))


def closed(runner: LoopRunner) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            await runner.close()

    asyncio.run(main())


def test_a_closed_loop_has_no_thread_any_more() -> None:
    threads: list[threading.Thread] = []
    executed = threading.Event()

    async def perform(_: Job) -> None:
        threads.append(threading.current_thread())
        executed.set()

    runner = LoopRunner(perform, 1, print, print)
    runner.submit(job())
    assert executed.wait(PATIENCE)
    closed(runner)
    assert not threads[0].is_alive()


def test_closing_does_not_wait_for_a_task_that_blocks_the_loop() -> None:
    threads: list[threading.Thread] = []
    blocks, go_on = threading.Event(), threading.Event()

    async def perform(_: Job) -> None:
        threads.append(threading.current_thread())
        blocks.set()
        go_on.wait(PATIENCE)

    runner = LoopRunner(perform, 1, print, print)
    runner.submit(job())
    assert blocks.wait(PATIENCE)
    closed(runner)
    assert threads[0].is_alive()
    assert threads[0].daemon
    go_on.set()
    threads[0].join(PATIENCE)
    assert not threads[0].is_alive()


def test_a_loop_that_a_task_stops_goes_on() -> None:
    gate, first, second = Gate(), job(), job()

    async def perform(one: Job) -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        await gate.perform(one)

    runner = LoopRunner(perform, 1, print, print)
    for one in (first, second):
        runner.submit(one)
    gate.let_end(2)
    gate.until_begun(2)
    gate.until_idle()
    assert runner.death is None


def test_a_loop_that_ends_by_itself_says_so_and_takes_what_comes_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jtask.worker.runners.new_loop", asyncio.new_event_loop)
    dead: queue.SimpleQueue[str] = queue.SimpleQueue()

    def fail() -> None:
        raise OSError("the selector is broken")

    async def perform(one: Job) -> None:
        cast("Any", asyncio.get_running_loop())._run_once = fail

    runner = LoopRunner(perform, 1, dead.put, print)
    runner.submit(job())
    reason = "the event loop of the tasks has ended: OSError: the selector is broken"
    assert dead.get(timeout=PATIENCE) == reason
    assert runner.death is not None
    runner.submit(job())
    runner.cancel_all()
    asyncio.run(runner.close())


@pytest.mark.parametrize("busy", [0, 1])
def test_closed_threads_are_there_no_more_but_for_those_that_are_left_behind(busy: int) -> None:
    gate, before = Gate(), threading.active_count()
    runner = ThreadRunner(gate.perform, 4)
    for _ in range(4):
        runner.submit(job())
    gate.until_begun(4)
    # The others are on their way to their next job, or out of the one before.
    gate.let_end(4 - busy)
    asyncio.run(runner.close(busy))
    assert threading.active_count() == before + busy
    gate.let_end(busy)
    eventually(lambda: threading.active_count() == before)


def test_a_thread_outlives_an_execution_that_fails_inside_jtask() -> None:
    gate, broken, well = Gate(), job(), job()

    async def perform(one: Job) -> None:
        if one is broken:
            raise SystemExit
        await gate.perform(one)

    runner = ThreadRunner(perform, 1)
    runner.submit(broken)
    runner.submit(well)
    gate.let_end(1)
    gate.until_begun(1)
    assert gate.begun == [well]
