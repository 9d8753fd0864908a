"""What a plugin hears of a call that sends runs, and what it hands on with a run."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from in_process import StartWorker, on_each_broker
from waiting import PATIENCE

from jtask import task
from jtask.client import get_client
from jtask.errors import ArgumentError, BrokerFull, RunRefused
from jtask.hooks import hookimpl
from jtask.runtime import EnqueueRequest, RunContext

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
AddPlugin = Callable[[object], None]


class Listener:
    """Hears once of each call what became of it; refuses the number 13."""

    def __init__(self) -> None:
        self.heard: list[tuple[list[str], BaseException | None]] = []
        self.counts: list[int] = []

    @hookimpl
    def jtask_enqueue(self, request: EnqueueRequest) -> None:
        self.counts.append(request.count)
        if not request.when_sent:
            request.when_sent.append(self.over)
        if request.parameters["number"] == 13:
            raise RunRefused("13 is refused")

    def over(self, sent: Sequence[str], error: BaseException | None) -> None:
        self.heard.append((list(sent), error))


@pytest.fixture
def listener(jtask_plugin: AddPlugin) -> Listener:
    listener = Listener()
    jtask_plugin(listener)
    return listener


def make_task() -> Any:
    @task(queue="heard")
    def heard(number: int) -> int:
        return number

    return heard


def test_a_plugin_hears_that_a_run_is_stored_and_which_one_it_is(listener: Listener) -> None:
    heard = make_task()
    first = heard.delay(1)
    second = asyncio.run(heard.adelay(2))
    assert listener.heard == [([first.run_id], None), ([second.run_id], None)]
    assert listener.counts == [1, 1]


def test_a_plugin_hears_once_of_many_runs_that_are_sent_together(listener: Listener) -> None:
    heard = make_task()
    runs = heard.delay_many([(number,) for number in range(3)])
    more = asyncio.run(heard.adelay_many([(number,) for number in range(2)]))
    assert listener.heard == [([r.run_id for r in runs], None), ([r.run_id for r in more], None)]
    assert listener.counts == [3, 3, 3, 2, 2]


def test_a_plugin_hears_why_a_call_has_sent_nothing(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = make_task()
    with pytest.raises(RunRefused):
        heard.delay(13)
    with pytest.raises(RunRefused):
        heard.delay_many([(1,), (13,)])
    full = BrokerFull("the broker has no room")

    def refuse(*_: Any) -> None:
        raise full

    monkeypatch.setattr(get_client(), "enqueue_blocking", refuse)
    with pytest.raises(BrokerFull):
        heard.delay(1)
    assert [sent for sent, _ in listener.heard] == [[], [], []]
    assert [type(error) for _, error in listener.heard] == [RunRefused, RunRefused, BrokerFull]


def test_a_plugin_that_was_not_asked_hears_nothing(listener: Listener) -> None:
    with pytest.raises(ArgumentError):
        make_task().delay("not a number")
    assert listener.heard == []


def test_a_plugin_that_fails_to_hear_changes_nothing_for_the_caller(
    jtask_plugin: AddPlugin, caplog: pytest.LogCaptureFixture
) -> None:
    class Deaf(Listener):
        def over(self, sent: Sequence[str], error: BaseException | None) -> None:
            raise ZeroDivisionError

    jtask_plugin(Deaf())
    run = make_task().delay(1)
    assert run.run_id
    assert "failed to hear" in caplog.text


class Carrier:
    """Hands on to each attempt how many there were before."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    @hookimpl
    @contextmanager
    def jtask_around(self, run: RunContext) -> Any:
        before = run.headers.get("test-before")
        self.seen.append(before)
        run.hand_on("test-before", str(int(before or 0) + 1))
        yield


def test_what_is_handed_on_reaches_the_next_attempt_of_a_worker_and_of_a_direct_call(
    jtask_plugin: AddPlugin, jtask_worker: StartWorker
) -> None:
    carrier = Carrier()
    jtask_plugin(carrier)

    @task(queue="carried", retries=2)
    def fail() -> None:
        raise ValueError("no")

    jtask_worker(fail)
    assert isinstance(fail.delay().exception(PATIENCE), ValueError)
    with pytest.raises(ValueError, match="no"):
        fail()
    assert carrier.seen == [None, "1", "2"] * 2
