"""An outcome that a plugin knows is given before the run takes a slot, on both brokers."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from in_process import StartWorker, events_of, on_each_broker
from waiting import PATIENCE, eventually

from jtask import Run, task
from jtask.contract import Event
from jtask.hooks import hookimpl
from jtask.outcomes import Outcome
from jtask.runtime import RunContext
from jtask.states import FINAL, State, StateName

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
AddPlugin = Callable[[object], None]


class Known:
    """Knows what becomes of some arguments, and notes where it was asked."""

    def __init__(self, *known: object) -> None:
        self.known = known
        self.threads: set[str] = set()
        self.settled: list[StateName] = []

    @hookimpl
    def jtask_lookup(self, run: RunContext) -> Outcome | None:
        self.threads.add(threading.current_thread().name)
        value = next(iter(run.parameters.values()))
        found = value in self.known
        return Outcome(State(StateName.CACHED, time.time()), f"{value} again") if found else None

    @hookimpl
    def jtask_settled(self, outcome: Outcome) -> None:
        self.settled.append(outcome.state.name)


class Held:
    """Holds each run while it is looked up."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()

    @hookimpl
    async def jtask_lookup(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


def states_of(run: Run[Any]) -> list[str]:
    def told() -> list[Event]:
        events = events_of(run.run_id)
        return events if events and events[-1].state in FINAL else []

    return [event.state for event in eventually(told)]


def test_a_known_outcome_does_not_wait_for_a_slot(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    plugin = Known("known")
    jtask_plugin(plugin)
    begun, go_on = threading.Event(), threading.Event()

    @task
    def work(name: str) -> str:
        begun.set()
        assert go_on.wait(PATIENCE)
        return name

    jtask_worker(work, concurrency=1)
    new = work.delay("new")
    assert begun.wait(PATIENCE)
    old = work.delay("known")
    assert old.result(PATIENCE) == "known again"
    assert (old.state.name, new.done()) == (StateName.CACHED, False)
    go_on.set()
    assert new.result(PATIENCE) == "new"
    assert plugin.threads == {"jtask-hooks"}
    assert plugin.settled == [StateName.CACHED, StateName.COMPLETED]
    assert states_of(old)[-2:] == ["Pending", "Cached"]
    assert states_of(new)[-3:] == ["Pending", "Running", "Completed"]


def test_arguments_that_travel_apart_are_looked_up_too(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    large = "x" * 2_000_000
    jtask_plugin(Known(large))

    @task
    def measure(text: str) -> str:
        return str(len(text))

    jtask_worker(measure)
    old, new = measure.delay(large), measure.delay(large[1:])
    assert len(old.result(PATIENCE)) > len(large)
    assert new.result(PATIENCE) == str(len(large) - 1)


def test_a_stopping_worker_hands_back_what_it_looks_up(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    plugin = Held()
    jtask_plugin(plugin)

    @task
    def work() -> None: ...

    worker = jtask_worker(work)
    run = work.delay()
    assert plugin.begun.wait(PATIENCE)
    assert worker.stop() == 1
    assert plugin.ended.wait(PATIENCE)
    assert not run.done()


def test_bytes_that_a_plugin_knows_are_stored_as_they_are(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    class Bytes:
        @hookimpl
        def jtask_lookup(self) -> Outcome:
            return Outcome(State(StateName.CACHED, time.time()), payload=b'"as it is"')

    jtask_plugin(Bytes())

    @task
    def work() -> str:
        return "never"

    jtask_worker(work)
    assert work.delay().result(PATIENCE) == "as it is"
