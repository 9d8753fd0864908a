"""Handles of runs: everyone who waits learns the end, or why it cannot be known."""

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from jtask.errors import BrokerUnavailable
from jtask.outcomes import SettledRun
from jtask.runs import Run, RunSource
from jtask.states import State, StateName
from jtask.wire.envelope import encode_outcome

PATIENCE = 20.0
RUN_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


class Source:
    """Counts who waits, and lets the test decide what becomes of them."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)

    def fetch_end(self, run: "Run[Any]", timeout: float | None) -> None:
        """It does not end soon."""

    async def fetch_end_async(self, run: "Run[Any]", timeout: float | None) -> None:
        """It does not end soon."""

    def expect(self, run: "Run[Any]") -> None:
        self.waiting.release()

    def hold(self, run: "Run[Any]") -> None:
        self.waiting.release()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def run(source: Source) -> "Run[Any]":
    return Run(RUN_ID, cast("RunSource", source))


def test_all_who_wait_on_one_handle_get_the_error(run: "Run[Any]", source: Source) -> None:
    with ThreadPoolExecutor() as pool:
        waits = [pool.submit(run.wait) for _ in range(3)]
        for _ in waits:
            assert source.waiting.acquire(timeout=PATIENCE)
        run.fail_waiters(BrokerUnavailable("it is gone"))
        for wait in waits:
            with pytest.raises(BrokerUnavailable, match="it is gone"):
                wait.result(PATIENCE)


def test_all_coroutines_that_wait_on_one_handle_get_the_error(run: "Run[Any]") -> None:
    async def wait_and_fail() -> list[object]:
        waits = [asyncio.create_task(run.wait_async()) for _ in range(3)]
        await asyncio.sleep(0)
        run.fail_waiters(BrokerUnavailable("it is gone"))
        return await asyncio.gather(*waits, return_exceptions=True)

    for ended in asyncio.run(wait_and_fail()):
        assert isinstance(ended, BrokerUnavailable)


def test_a_handle_that_follows_another_gets_its_error_and_may_follow_again(
    run: "Run[Any]", source: Source
) -> None:
    follower: Run[Any] = Run(RUN_ID, cast("RunSource", source))
    follower.follow(run)
    with ThreadPoolExecutor() as pool:
        wait = pool.submit(follower.wait)
        assert source.waiting.acquire(timeout=PATIENCE)
        run.fail_waiters(BrokerUnavailable("it is gone"))
        with pytest.raises(BrokerUnavailable, match="it is gone"):
            wait.result(PATIENCE)
    assert not follower.done()
    follower.follow(run)
    run.resolve(_outcome())
    assert follower.done()


def test_an_error_is_gone_once_it_was_told(run: "Run[Any]", source: Source) -> None:
    run.fail_waiters(BrokerUnavailable("nobody waited"))
    assert not run.wait(0)
    with ThreadPoolExecutor() as pool:
        wait = pool.submit(run.wait)
        for _ in range(2):
            assert source.waiting.acquire(timeout=PATIENCE)
        run.resolve(_outcome())
        assert wait.result(PATIENCE)


def test_a_done_callback_is_not_called_for_an_error(run: "Run[Any]") -> None:
    called: list[Run[Any]] = []
    run.add_done_callback(called.append)
    run.fail_waiters(BrokerUnavailable("it is gone"))
    assert called == []


def _outcome() -> bytes:
    state = State(StateName.COMPLETED, 1.0)
    record = SettledRun(RUN_ID, "key", "name", state, 1, 0.0, 0.0, 1.0, 1.0, "w", "json", b"null")
    return encode_outcome(record)


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_handle_says_what_to_pass_in_its_place(
    run: "Run[Any]", way: Callable[[Any], Any]
) -> None:
    with pytest.raises(TypeError, match=r"pass its run_id, and call get_run\(run_id\) there"):
        way({"runs": [run]} if way is not copy.copy else run)
