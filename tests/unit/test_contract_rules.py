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
def _hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("LONGEST", "CLOSING", "GRACE"):
        monkeypatch.setattr(trial, name, 0.1)
    _released.clear()
    before = set(threading.enumerate())
    yield
    _released.set()
    for thread in set(threading.enumerate()) - before:
        thread.join()


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        ("never_answers", "the_rule was not over after 0.1 s: the broker did not answer"),
        ("makes_an_error_of_being_cancelled", "the_rule was not over after 0.1 s: the broker did"),
        ("takes_being_cancelled_for_an_answer", "the_rule was not over .* cancelled for an answer"),
        ("goes_on_for_ever", "the_rule did not end within 0.3 s: .* although it was cancelled"),
        ("blocks_the_loop", "the_rule did not end within 0.3 s: it blocks the loop"),
        ("leaves_a_task", "the_rule did not end within 0.3 s: the broker left a task"),
        ("leaves_a_thread", "the broker left a task or a thread behind that does not end"),
    ],
)
def test_a_rule_that_does_not_end_fails_by_its_name(act: str, sentence: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=sentence):
        BadContract(act).the_rule()


@pytest.mark.parametrize(
    ("close", "sentence"),
    [
        ("never_answers", "the_rule: a client was not closed in 0.1 s"),
        ("blocks_the_loop", "the_rule did not end within 0.3 s: a client that is being closed"),
        ("goes_on_for_ever", "the_rule did not end within 0.3 s: a client .* is never closed"),
    ],
)
def test_a_client_that_is_never_closed_fails_the_rule_by_its_name(
    close: str, sentence: str
) -> None:
    with pytest.raises(pytest.fail.Exception, match=sentence):
        BadContract(close=close).the_rule()


@pytest.mark.parametrize(
    ("act", "place"),
    [
        ("goes_on_for_ever", "await asyncio.sleep"),
        ("blocks_the_loop", "_released.wait()"),
        ("leaves_a_task", "task left behind:"),
        ("leaves_a_thread", "in _stand"),
    ],
)
def test_what_is_left_behind_is_shown_where_it_stands(act: str, place: str) -> None:
    with pytest.raises(pytest.fail.Exception) as failed:
        BadContract(act).the_rule()
    assert place in str(failed.value)


_PROGRAM = """
from test_contract_rules import BadContract, trial

trial.LONGEST = trial.CLOSING = trial.GRACE = 0.1
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
    assert "the_rule did not end within 0.3 s" in ended.stdout, ended.stderr
    assert ended.returncode == 0


def test_a_broken_rule_is_broken_and_a_skipped_one_is_skipped() -> None:
    BadContract().the_rule()
    with pytest.raises(AssertionError, match="there is a broker"):
        BadContract().a_rule_that_is_broken()
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
def test_the_settings_of_a_rule_end_with_it_however_it_ends(check: Callable[[], None]) -> None:
    before = get_settings().namespace
    with suppress(AssertionError, pytest.skip.Exception, pytest.fail.Exception):
        check()
    assert get_settings().namespace == before
    assert "JTASK_LEASE" not in os.environ


def test_a_rule_that_is_interrupted_is_cancelled_and_its_clients_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LONGEST", "CLOSING", "GRACE"):
        monkeypatch.setattr(trial, name, 20.0)
    with pytest.raises(KeyboardInterrupt):
        BadContract("is_interrupted", close="notes_its_end").the_rule()
    assert _released.is_set()
