"""What the contract suite makes of a broker that keeps its rules badly."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jtask.contract import Broker
from jtask.errors import BrokerUnavailable
from jtask.settings import get_settings
from jtask.testing.contract import Bench, Contract, base, broker_of, trial

_released = threading.Event()


class Bad:
    """A part that does one thing badly."""

    async def never_answers(self) -> None:
        await asyncio.Event().wait()

    async def makes_an_error_of_being_cancelled(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise BrokerUnavailable("it was interrupted") from None

    async def takes_being_cancelled_for_an_answer(self) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def goes_on_for_ever(self) -> None:
        while not _released.is_set():
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    async def blocks_the_loop(self) -> None:
        _released.wait()

    async def leaves_a_task(self) -> None:
        self.task = asyncio.create_task(self.goes_on_for_ever(), name="left behind")

    async def leaves_a_thread(self) -> None:
        self.waiting = asyncio.get_running_loop().run_in_executor(None, self._stand)

    def _stand(self) -> None:
        _released.wait()

    async def is_interrupted(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        await asyncio.Event().wait()

    async def notes_its_end(self) -> None:
        _released.set()

    async def answers(self) -> None: ...

    async def close(self) -> None: ...


class BadContract(Contract):
    def __init__(self, act: str = "answers", close: str = "close") -> None:
        self.act, self.close = act, close

    async def open_broker(self, client: str) -> Broker:
        part: Any = Bad()
        part.close = getattr(part, self.close)
        return broker_of(requests=part)

    @base.rule
    async def the_rule(self, bench: Bench) -> None:
        broker: Any = await bench.broker()
        await getattr(broker.requests, self.act)()

    @base.rule
    async def a_rule_that_is_broken(self, bench: Bench) -> None:
        assert (await bench.broker()) is None, "there is a broker"

    @base.rule
    async def a_rule_to_skip(self, bench: Bench) -> None:
        pytest.skip("it does not apply")


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    _released.clear()
    before = set(threading.enumerate())
    yield
    _released.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Shorten some of the times; all others are ample."""

    def hurry(**seconds: float) -> None:
        for name in ("LONGEST", "CLOSING", "GRACE"):
            monkeypatch.setattr(trial, name, seconds.get(name.lower(), 60.0))

    return hurry


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        ("never_answers", "the_rule was not over after 0.1 s: the broker did not answer"),
        ("makes_an_error_of_being_cancelled", "the_rule was not over after 0.1 s: the broker did"),
        ("takes_being_cancelled_for_an_answer", "the_rule was not over .* cancelled for an answer"),
    ],
)
def test_a_rule_that_waits_for_ever_fails_by_its_name(
    act: str, sentence: str, hurry: Callable[..., None]
) -> None:
    hurry(longest=0.1)
    with pytest.raises(pytest.fail.Exception, match=sentence):
        BadContract(act).the_rule()


def test_a_client_that_is_never_closed_fails_the_rule_by_its_name(
    hurry: Callable[..., None],
) -> None:
    hurry(closing=0.1)
    with pytest.raises(pytest.fail.Exception, match="a client was not closed in"):
        BadContract(close="never_answers").the_rule()


@pytest.mark.parametrize(
    ("act", "sentence", "place"),
    [
        ("goes_on_for_ever", "although it was cancelled", "await asyncio.sleep"),
        ("blocks_the_loop", "it blocks the loop", "_released.wait()"),
    ],
)
def test_a_rule_that_cannot_be_cancelled_fails_with_where_it_stands(
    act: str, sentence: str, place: str, hurry: Callable[..., None]
) -> None:
    hurry(longest=0.5, grace=0.5)
    _check_that_it_stands(BadContract(act), sentence, place)


@pytest.mark.parametrize(
    ("close", "place"),
    [("goes_on_for_ever", "await asyncio.sleep"), ("blocks_the_loop", "_released.wait()")],
)
def test_a_client_whose_end_cannot_be_cancelled_fails_the_rule_with_where_it_stands(
    close: str, place: str, hurry: Callable[..., None]
) -> None:
    hurry(closing=0.5, grace=0.5)
    _check_that_it_stands(BadContract(close=close), "a client that is being closed", place)


@pytest.mark.parametrize(
    ("act", "place"), [("leaves_a_task", "task left behind:"), ("leaves_a_thread", "in _stand")]
)
def test_what_is_left_behind_fails_the_rule_with_where_it_stands(
    act: str, place: str, hurry: Callable[..., None]
) -> None:
    hurry(grace=0.5)
    _check_that_it_stands(BadContract(act), "the broker left a task or a thread behind", place)


def _check_that_it_stands(contract: BadContract, sentence: str, place: str) -> None:
    with pytest.raises(pytest.fail.Exception) as failed:
        contract.the_rule()
    said, _, places = str(failed.value).partition("\n")
    assert said.startswith("the_rule does not end: ")
    assert sentence in said
    assert place in places


_PROGRAM = """
from test_contract_rules import BadContract, trial

trial.GRACE = 0.5
try:
    BadContract("leaves_a_thread").the_rule()
except BaseException as error:
    print(str(error).splitlines()[0])
"""


def test_what_is_left_behind_keeps_no_process_from_ending() -> None:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "the_rule does not end" in ended.stdout, ended.stderr
    assert ended.returncode == 0


def test_a_broken_rule_is_broken_and_a_skipped_one_is_skipped() -> None:
    BadContract().the_rule()
    with pytest.raises(AssertionError, match="there is a broker") as broken:
        BadContract().a_rule_that_is_broken()
    assert {Path(entry.path).name for entry in broken.traceback[1:]} <= {
        "base.py",
        "trial.py",
        "test_contract_rules.py",
    }
    with pytest.raises(pytest.skip.Exception, match="does not apply"):
        BadContract().a_rule_to_skip()


@pytest.mark.parametrize(
    "check",
    [
        lambda: BadContract().a_rule_that_is_broken(),
        lambda: BadContract().a_rule_to_skip(),
        lambda: BadContract("blocks_the_loop").the_rule(),
    ],
)
def test_the_settings_of_a_rule_end_with_it_however_it_ends(
    check: Callable[[], None], hurry: Callable[..., None]
) -> None:
    hurry(longest=0.1, grace=0.1)
    before = get_settings().namespace
    with suppress(AssertionError, pytest.skip.Exception, pytest.fail.Exception):
        check()
    assert get_settings().namespace == before
    assert "JTASK_LEASE" not in os.environ


def test_a_rule_that_is_interrupted_is_cancelled_and_its_clients_are_closed() -> None:
    with pytest.raises(KeyboardInterrupt):
        BadContract("is_interrupted", close="notes_its_end").the_rule()
    assert _released.is_set()
