"""How direct calls hear that the broker does not answer, and that it does again."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from jtask.errors import BrokerUnavailable, ConfigurationError
from jtask.settings import get_settings
from jtask_caching import absence as module
from jtask_caching import runs
from jtask_caching.absence import Absence


class World:
    """A broker, the clock, and a loop on which what was begun goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.is_away = True
        self.asked = 0
        self._begun: list[object] = []
        self.connection: object | None = None
        self.error: Exception = BrokerUnavailable()
        self.absence = Absence(self._ask, lambda: self.connection, 5.0, lambda: self.now)

    async def _ask(self) -> None:
        self.asked += 1
        if self.is_away:
            raise self.error

    def submit(self, look: object) -> None:
        self._begun.append(look)

    def go_on(self) -> None:
        while self._begun:
            asyncio.run(self._begun.pop())  # type: ignore[arg-type]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()
    monkeypatch.setattr(module, "get_hooks_loop", lambda: world)
    yield world
    get_settings.cache_clear()


def test_nothing_is_asked_before_the_broker_has_failed_to_answer(world: World) -> None:
    assert not world.absence.lasts()
    world.go_on()
    assert world.asked == 0


def test_an_absence_lasts_until_the_broker_has_answered(world: World) -> None:
    world.absence.begin()
    world.now = 4.0
    assert world.absence.lasts()
    world.go_on()
    assert world.asked == 0
    world.is_away = False
    world.now = 5.0
    assert world.absence.lasts()  # who asks now does not wait for the answer either
    world.go_on()
    assert not world.absence.lasts()


def test_the_broker_is_asked_once_in_a_pause_whoever_would_know(world: World) -> None:
    world.absence.begin()
    for world.now in (5.0, 6.0, 99.0):
        assert world.absence.lasts()
    world.go_on()
    assert world.asked == 1
    world.now = 103.0
    assert world.absence.lasts()
    world.go_on()
    assert world.asked == 1
    world.now = 104.0
    assert world.absence.lasts()
    world.go_on()
    assert world.asked == 2


def test_the_broker_is_asked_again_whatever_came_of_the_last_question(world: World) -> None:
    world.absence.begin()
    world.error = ConfigurationError()
    world.now = 5.0
    assert world.absence.lasts()
    world.go_on()
    world.is_away = False
    world.now = 10.0
    assert world.absence.lasts()
    world.go_on()
    assert not world.absence.lasts()


def test_a_connection_that_was_made_since_ends_the_absence(world: World) -> None:
    world.absence.begin()
    world.connection = "new"
    assert not world.absence.lasts()
    world.connection = None
    assert not world.absence.lasts()  # it has ended, and with it what was known


def test_a_connection_that_was_lost_ends_no_absence(world: World) -> None:
    world.connection = "lost"
    world.absence.begin()
    assert world.absence.lasts()
    world.connection = None
    assert world.absence.lasts()


def test_a_forked_child_asks_for_itself() -> None:
    runs._absence.begin()
    try:
        child = os.fork()
        if not child:
            os._exit(runs._absence.lasts())
        assert runs._absence.lasts()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        runs._absence.end()


def test_another_broker_is_not_the_one_that_was_away(world: World) -> None:
    world.absence.begin()
    get_settings.cache_clear()
    assert not world.absence.lasts()
