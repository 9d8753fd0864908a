"""Waiting for many runs of any kind: all of them, each as it ends, or their values at once."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from jtask.errors import BrokerUnavailable, ResultTimeout
from jtask.futures import FutureList, as_completed, as_completed_async, wait, wait_async
from jtask.ids import RunIds
from jtask.outcomes import SettledRun
from jtask.runs import Run, RunSource
from jtask.states import State, StateName
from jtask.wire.envelope import encode_outcome
from jtask.wire.failures import capture

PATIENCE = 20.0
IDS = RunIds()


class Source:
    """Leaves it to the test when runs end."""

    def expect(self, run: "Run[Any]") -> None: ...

    def hold(self, run: "Run[Any]") -> None: ...


def new_run() -> "Run[Any]":
    return Run(IDS.new(), cast("RunSource", Source()))


def end(run: "Run[Any]", value: str = "null", error: Exception | None = None) -> None:
    name = StateName.COMPLETED if error is None else StateName.FAILED
    payload, failure = (value.encode(), None) if error is None else (b"", capture(error))
    state = State(name, 1.0)
    record = SettledRun(
        run.run_id, "k", "n", state, 1, 0.0, 0.0, 1.0, 1.0, "w", "json", payload, None, failure
    )
    run.resolve(encode_outcome(record))


def test_wait_tells_which_are_over_and_which_are_not() -> None:
    runs = [new_run() for _ in range(3)]
    end(runs[1])
    done, not_done = wait(runs, timeout=0)
    assert done == {runs[1]}
    assert not_done == {runs[0], runs[2]}
    for run in (runs[0], runs[2]):
        end(run)
    assert wait([*runs, *runs]).not_done == set()


@pytest.mark.parametrize("ask", [wait, as_completed, as_completed_async, FutureList.result])
def test_what_is_no_handle_is_refused_with_the_way_out(ask: Any) -> None:
    with pytest.raises(TypeError, match=r"only handles.*got 'an-id'.*get_run\(run_id\)"):
        ask([new_run(), "an-id"])
    with pytest.raises(TypeError, match=r"got one: pass \[run\]"):
        ask(new_run())


@pytest.mark.parametrize("timeout", ["5", timedelta(seconds=5), True])
def test_a_timeout_is_a_number_of_seconds(timeout: Any) -> None:
    run = new_run()
    waits = [run.wait, run.result, FutureList([run]).result, lambda late: wait([run], late)]
    for ask in waits:
        with pytest.raises(TypeError, match="a timeout is a number of seconds"):
            ask(timeout)
    with pytest.raises(TypeError, match="a timeout is a number of seconds"):
        asyncio.run(run.result_async(timeout))


class Ending(Source):
    """Ends runs in the reverse order of their list, once the last of them is waited for."""

    def __init__(self) -> None:
        self.runs = [Run[Any](IDS.new(), cast("RunSource", self)) for _ in range(3)]

    def expect(self, run: "Run[Any]") -> None:
        if run == self.runs[-1]:
            for one in reversed(self.runs):
                end(one)


def test_as_completed_yields_each_once_in_the_order_of_the_ends() -> None:
    runs = Ending().runs
    assert list(as_completed([*runs, runs[0]], PATIENCE)) == runs[::-1]
    assert list(as_completed([*runs, runs[0]], PATIENCE)) == runs


def test_as_completed_says_how_many_are_unfinished() -> None:
    runs = [new_run() for _ in range(3)]
    end(runs[0])
    with pytest.raises(TimeoutError, match=r"^2 \(of 3\) futures unfinished$"):
        list(as_completed(runs, 0))


@pytest.mark.parametrize("waiting", [wait, as_completed, as_completed_async])
def test_a_timeout_is_not_negative(waiting: Any) -> None:
    with pytest.raises(ValueError, match="negative"):
        waiting([], -1)


def test_coroutines_wait_likewise() -> None:
    async def main() -> None:
        runs = Ending().runs
        assert [run async for run in as_completed_async(runs, PATIENCE)] == runs[::-1]
        assert (await wait_async(runs)).done == set(runs)
        assert await FutureList(runs).wait_async()
        assert await FutureList(runs).result_async() == [None] * 3
        with pytest.raises(TimeoutError, match=r"1 \(of 1\) futures unfinished"):
            _ = [run async for run in as_completed_async([new_run()], 0)]
        with pytest.raises(ResultTimeout, match=r"1 \(of 1\)"):
            await FutureList([new_run()]).result_async(0)

    asyncio.run(main())


def test_an_end_that_cannot_be_known_is_raised() -> None:
    class Gone(Source):
        def expect(self, run: "Run[Any]") -> None:
            run.fail_waiters(BrokerUnavailable("it is gone"))

    run: Run[Any] = Run(IDS.new(), cast("RunSource", Gone()))
    with pytest.raises(BrokerUnavailable, match="it is gone"):
        wait([run, new_run()])


def test_values_come_in_the_order_of_the_list_with_duplicates() -> None:
    runs = FutureList([new_run(), new_run()])
    runs.append(runs[0])
    end(runs[1], "2")
    end(runs[0], "1")
    assert runs.result(0) == [1, 2, 1]
    assert runs.wait(0)


def test_the_first_failure_is_raised_while_others_are_not_over() -> None:
    runs = FutureList([new_run(), new_run(), new_run()])
    end(runs[2], error=KeyError("k"))
    with pytest.raises(KeyError):
        runs.result(PATIENCE)


def test_a_failure_can_stand_in_the_place_of_its_value() -> None:
    runs = FutureList([new_run(), new_run()])
    end(runs[0], error=TimeoutError("its own"))
    end(runs[1], "2")
    failed, value = runs.result(raise_on_failure=False)
    assert isinstance(failed, TimeoutError)
    assert value == 2
    with pytest.raises(TimeoutError, match="its own"):
        runs.result(PATIENCE)


def test_values_that_are_late_are_an_error_that_counts_them() -> None:
    with pytest.raises(ResultTimeout, match=r"2 \(of 2\) futures unfinished within 0 seconds"):
        FutureList([new_run(), new_run()]).result(0)


def test_who_gives_up_leaves_nothing_behind() -> None:
    runs = [new_run() for _ in range(3)]
    wait(runs, 0)
    with pytest.raises(TimeoutError):
        list(as_completed(runs, 0))
    assert [run._callbacks for run in runs] == [()] * 3
