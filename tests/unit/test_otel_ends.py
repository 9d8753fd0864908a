"""What is exported when a worker or a process ends, and how long that may take."""

import atexit
import logging
import threading
from collections.abc import Iterator

import pytest
from opentelemetry import _logs, metrics, trace
from waiting import eventually

from jtask_otel.ends import SAME_END_SECONDS, Ends, Patience


class Provider:
    """Notes what is asked of it; one whose collector is dead never gets done."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_answered = threading.Event()
        self.is_answered.set()

    def force_flush(self) -> None:
        self._export("flush")

    def shutdown(self) -> None:
        self._export("shutdown")

    def _export(self, how: str) -> None:
        self.asked.append(how)
        self.is_answered.wait()


class Broken(Provider):
    def _export(self, how: str) -> None:
        raise ValueError(f"no {how} today")


@pytest.fixture(autouse=True)
def providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have none at first, and nothing to do at the end of the tests."""
    for module, name in ((trace, "tracer"), (metrics, "meter"), (_logs, "logger")):
        monkeypatch.setattr(module, f"get_{name}_provider", object)
    monkeypatch.setattr(atexit, "register", lambda _function: None)


@pytest.fixture
def dead() -> Iterator[Provider]:
    provider = Provider()
    provider.is_answered.clear()
    yield provider
    provider.is_answered.set()


def test_signals_are_exported_at_the_same_time() -> None:
    both = threading.Barrier(2)

    class Together(Provider):
        def _export(self, how: str) -> None:
            both.wait(timeout=30)
            super()._export(how)

    ends = Ends(seconds=30)
    one, other = Together(), Together()
    ends.own("traces", one)
    ends.own("metrics", other)
    ends.end_process()
    assert (one.asked, other.asked) == (["shutdown"], ["shutdown"])


def test_a_dead_collector_is_given_up_and_told_of_once_and_not_waited_for_again(
    dead: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: dead)
    ends = Ends(seconds=0.05)
    ends.own("traces", dead)
    ends.end_worker()
    ends.end_process()
    assert [record.getMessage() for record in caplog.records] == [
        "the last traces were not exported: no collector has taken them within 0.05 seconds"
    ]


def test_what_has_a_living_collector_is_exported_beside_what_has_a_dead_one(
    dead: Provider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alive = Provider()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: dead)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: alive)
    ends = Ends(seconds=0.5)
    ends.own("traces", dead)
    ends.own("metrics", alive)
    ends.end_worker()
    ends.end_process()
    eventually(lambda: alive.asked == ["flush", "shutdown"])
    assert "the last traces were" in caplog.text


def test_a_provider_of_the_programs_own_is_flushed_with_a_worker_and_not_shut_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = Provider()
    monkeypatch.setattr(_logs, "get_logger_provider", lambda: own)
    ends = Ends()
    ends.end_worker()
    ends.end_process()
    assert own.asked == ["flush"]


def test_an_exporter_that_raises_is_told_of_and_delays_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ends = Ends(seconds=30)
    ends.own("traces", Broken())
    ends.end_process()
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "the last traces were not exported: no shutdown today")
    ]


def test_ends_that_follow_each_other_closely_share_the_time() -> None:
    patience = Patience()
    assert patience.left(100.0, 5.0) == 5.0
    patience.spend(102.0, 2.0)
    assert patience.left(103.0, 5.0) == 3.0
    patience.spend(107.0, 4.0)
    assert patience.left(107.0, 5.0) == 0.0
    assert patience.left(107.0 + SAME_END_SECONDS, 5.0) == 0.0
    assert patience.left(108.0 + SAME_END_SECONDS, 5.0) == 5.0
