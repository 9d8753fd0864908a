"""What plugins claim for a run before it is sent, on both brokers."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from in_process import StartWorker, on_each_broker, on_io
from waiting import PATIENCE

from jtask import Run, Task, task
from jtask.claims import Sending
from jtask.client import get_client
from jtask.errors import BrokerFull, BrokerUnavailable, JTaskError, RunRefused
from jtask.hooks import hookimpl
from jtask.options import Option
from jtask.runtime import EnqueueRequest

pytestmark = pytest.mark.usefixtures("jtask_broker")
jtask_broker = on_each_broker
AddPlugin = Callable[[object], None]


class Claims:
    """A plugin whose claims say what a test wants, and what happened to them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.answers: dict[int, Any] = {}
        self.after: dict[int, str] = {}
        self.shared: list[dict[str, Any]] = []

    @hookimpl
    def jtask_enqueue(self, request: EnqueueRequest) -> "OneClaim":
        self.shared.append(request.shared)
        return OneClaim(self, request.parameters["number"])

    def calls_of(self, number: int) -> list[str]:
        return [call for call, of in self.calls if of == number]


class OneClaim:
    def __init__(self, plugin: Claims, number: int) -> None:
        self.plugin, self.number = plugin, number

    async def take(self, sending: Sending) -> str | None:
        assert asyncio.get_running_loop() is get_client().io.loop
        self.plugin.calls.append(("take", self.number))
        answer = self.plugin.answers.get(self.number)
        if isinstance(answer, Exception):
            raise answer
        return cast("str | None", answer)

    async def sent(self, sending: Sending) -> str | None:
        assert await sending.broker.queues.locate(sending.message.run_id) is not None
        self.plugin.calls.append(("sent", self.number))
        return self.plugin.after.get(self.number)

    async def withdraw(self, sending: Sending) -> None:
        self.plugin.calls.append(("withdraw", self.number))


@pytest.fixture
def claims(jtask_plugin: AddPlugin) -> Claims:
    plugin = Claims()
    jtask_plugin(plugin)
    return plugin


def new_task() -> Task[[int], int]:
    @task
    def work(number: int = 0) -> int:
        return number

    return work


def depth(work: Task[..., Any]) -> int:
    return int(on_io(lambda broker: broker.queues.depth(work.queue)))


def call_sync(work: Task[..., Any], number: int) -> Run[int]:
    return work.delay(number)


def call_async(work: Task[..., Any], number: int) -> Run[int]:
    async def call() -> Run[int]:
        return await work.adelay(number)

    return asyncio.run(call())


def call_many(work: Task[..., Any], number: int) -> Run[int]:
    (run,) = work.delay_many([(number,)])
    return run


ways = pytest.mark.parametrize("call", [call_sync, call_async, call_many])


@ways
def test_a_claim_is_taken_before_the_run_is_sent_and_told_afterwards(
    call: Any, claims: Claims, jtask_worker: StartWorker
) -> None:
    work = new_task()
    run = call(work, 1)
    assert claims.calls == [("take", 1), ("sent", 1)]
    jtask_worker(work)
    assert run.result(PATIENCE) == 1


@ways
def test_a_claim_can_answer_with_the_run_that_is_there(
    call: Any, claims: Claims, jtask_worker: StartWorker
) -> None:
    work = new_task()
    first = work.delay(1)
    claims.answers[2] = first.run_id
    second = call(work, 2)
    assert second == first
    assert claims.calls_of(2) == ["take"]
    assert depth(work) == 1
    jtask_worker(work)
    assert second.result(PATIENCE) == 1


@ways
def test_a_claim_can_say_afterwards_that_another_run_counts(call: Any, claims: Claims) -> None:
    work = new_task()
    first = work.delay(1)
    claims.after[2] = first.run_id
    assert call(work, 2) == first


@ways
def test_a_claim_can_refuse_the_run_and_nothing_is_sent(call: Any, claims: Claims) -> None:
    work = new_task()
    claims.answers[1] = RunRefused("not today")
    with pytest.raises(RunRefused, match="not today"):
        call(work, 1)
    assert claims.calls == [("take", 1)]
    assert depth(work) == 0


def test_what_was_claimed_for_a_run_that_is_not_stored_is_withdrawn(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = new_task()

    async def refuse(messages: object) -> None:
        raise BrokerFull

    monkeypatch.setattr(get_client().broker.runs, "enqueue", refuse)
    with pytest.raises(BrokerFull):
        work.delay(1)
    assert claims.calls == [("take", 1), ("withdraw", 1)]


def test_what_was_claimed_for_a_run_that_may_be_stored_is_kept(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = new_task()

    async def hang(messages: object) -> None:
        raise BrokerUnavailable

    monkeypatch.setattr(get_client().broker.runs, "enqueue", hang)
    with pytest.raises(BrokerUnavailable):
        work.delay(1)
    assert claims.calls == [("take", 1)]


def test_one_refusal_keeps_all_runs_that_are_stored_together(claims: Claims) -> None:
    work = new_task()
    claims.answers[3] = RunRefused("not today")
    with pytest.raises(RunRefused):
        work.delay_many([(number,) for number in range(5)])
    assert depth(work) == 0
    withdrawn = {number for call, number in claims.calls if call == "withdraw"}
    assert withdrawn == {0, 1, 2, 4}


def test_of_many_runs_some_are_answered_with_others(
    claims: Claims, jtask_worker: StartWorker
) -> None:
    work = new_task()
    first = work.delay(9)
    claims.answers |= {1: first.run_id, 3: first.run_id}
    runs = work.delay_many([(number,) for number in range(5)])
    assert [run == first for run in runs] == [False, True, False, True, False]
    jtask_worker(work)
    assert [run.result(PATIENCE) for run in runs] == [0, 9, 2, 9, 4]


def test_the_runs_of_one_call_share_what_a_plugin_keeps(claims: Claims) -> None:
    work = new_task()
    work.delay_many([(0,), (1,)])
    work.delay(2)
    one, same, other = claims.shared
    assert one is same
    assert other is not one


def test_all_claims_of_a_run_are_taken_or_none(jtask_plugin: AddPlugin) -> None:
    plugins = last, middle, first = [Claims() for _ in range(3)]
    for plugin in plugins:
        jtask_plugin(plugin)
    work = new_task()
    # The one that was registered last is asked first.
    middle.answers[1] = RunRefused("not today")
    with pytest.raises(JTaskError):
        work.delay(1)
    assert first.calls == [("take", 1), ("withdraw", 1)]
    assert middle.calls == [("take", 1)]
    # Others may wait for what it would have said.
    assert last.calls == [("withdraw", 1)]


def test_an_option_for_callers_need_not_travel(jtask_plugin: AddPlugin) -> None:
    class Priced:
        @hookimpl
        def jtask_options(self) -> list[Option]:
            return [Option("price", for_caller=True)]

    jtask_plugin(Priced())
    work = new_task()
    run = work.with_options(options={"price": lambda: 3}).delay(1)
    assert on_io(lambda broker: broker.queues.locate(run.run_id)) is not None
