"""What a worker concludes from what its pulls hear."""

from dataclasses import dataclass

import pytest

from jtask_nats.queues import consumption
from jtask_nats.queues import puller as pulling
from jtask_nats.queues.pull_health import QUIET_TIMEOUT, SILENCE_TIMEOUT, PullHealth


@dataclass(eq=False)
class Puller:
    responded: bool = False
    outstanding: int = 1
    is_broken: bool = False


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait(health: PullHealth, clock: Clock, seconds: float, *pullers: Puller) -> list[Puller]:
    """Look each second, as a worker does; return who was silent for too long."""
    silent: list[Puller] = []
    for _ in range(round(seconds)):
        clock.now += 1
        silent += health.check(pullers)
    return silent


def look_often(health: PullHealth, clock: Clock, seconds: float, *pullers: Puller) -> list[Puller]:
    """Look as often as a worker does; return who should pull again."""
    quiet: list[Puller] = []
    for _ in range(round(seconds / consumption._CHECK_EVERY)):
        clock.now += consumption._CHECK_EVERY
        health.check(pullers)
        quiet += health.quiet(pullers)
    return quiet


def test_a_problem_shows_within_ten_seconds_at_the_latest() -> None:
    # One look before the last word is noted, one after the silence is too long.
    assert SILENCE_TIMEOUT + 2 * consumption._CHECK_EVERY < 10
    assert pulling._EXPIRES < 10
    assert consumption._PING_TIMEOUT + 2 * consumption._PING_EVERY * consumption._CHECK_EVERY < 10


def test_silence_is_longer_than_what_a_healthy_server_keeps_silent() -> None:
    assert pulling._HEARTBEAT * 2 < SILENCE_TIMEOUT
    assert pulling._HEARTBEAT < QUIET_TIMEOUT
    assert pulling._SHORT_EXPIRES < SILENCE_TIMEOUT
    assert pulling._HEARTBEAT * 2 < pulling._EXPIRES


def test_who_hears_nothing_while_a_pull_stands_is_silent(clock: Clock) -> None:
    health, puller = PullHealth(clock), Puller()
    assert wait(health, clock, SILENCE_TIMEOUT, puller) == []
    assert wait(health, clock, 2, puller) == [puller]


def test_each_word_makes_the_silence_begin_anew(clock: Clock) -> None:
    health, puller = PullHealth(clock), Puller()
    for _ in range(5):
        assert wait(health, clock, SILENCE_TIMEOUT - 1, puller) == []
        puller.responded = True


@pytest.mark.parametrize("puller", [Puller(outstanding=0), Puller(is_broken=True)])
def test_who_asks_for_nothing_is_not_silent(clock: Clock, puller: Puller) -> None:
    assert wait(PullHealth(clock), clock, 5 * SILENCE_TIMEOUT, puller) == []


def test_who_misses_a_heartbeat_pulls_again_long_before_it_is_silent(clock: Clock) -> None:
    health, puller = PullHealth(clock), Puller()
    quiet = look_often(health, clock, 1.25, puller)
    assert quiet == []
    assert look_often(health, clock, 0.5, puller) == [puller]
    # Until somebody answers.
    assert look_often(health, clock, 1, puller) == [puller] * 2
    puller.responded = True
    assert look_often(health, clock, 1.25, puller) == []


def test_who_asks_for_nothing_does_not_pull_again(clock: Clock) -> None:
    assert look_often(PullHealth(clock), clock, 10, Puller(outstanding=0)) == []


def test_who_is_refused_tries_again_until_it_is_not(clock: Clock) -> None:
    health, puller = PullHealth(clock), Puller(outstanding=0, is_broken=True)
    assert look_often(health, clock, 2, puller) == [puller] * 4
    puller.is_broken = False
    assert look_often(health, clock, 1, puller) == []


def test_a_worker_that_was_away_itself_reads_first_what_was_answered(clock: Clock) -> None:
    health, puller = PullHealth(clock), Puller()
    look_often(health, clock, 1, puller)
    clock.now += 60
    assert look_often(health, clock, 1.25, puller) == []
    puller.responded = True
    assert look_often(health, clock, 1.25, puller) == []


def test_all_is_well_at_first(clock: Clock) -> None:
    assert PullHealth(clock).problem is None


def test_a_repaired_puller_is_doubted_until_it_is_heard(clock: Clock) -> None:
    health, puller = PullHealth(clock), Puller(is_broken=True)
    health.suspect(puller, "gone")
    puller.is_broken = False
    wait(health, clock, 5, puller)
    assert health.problem == "gone"
    puller.responded = True
    wait(health, clock, 1, puller)
    assert health.problem is None


def test_a_broken_puller_is_doubted_whatever_it_hears(clock: Clock) -> None:
    health, puller = PullHealth(clock), Puller(is_broken=True, responded=True)
    health.suspect(puller, "gone")
    wait(health, clock, 5, puller)
    assert health.is_suspect(puller)


def test_what_is_mended_at_once_shows_for_a_moment_all_the_same(clock: Clock) -> None:
    health, puller = PullHealth(clock), Puller(responded=True)
    health.suspect(puller, "gone")
    wait(health, clock, 1, puller)
    assert not health.is_suspect(puller)
    assert health.problem == "gone"
    clock.now += 3
    assert health.problem is None


def test_an_unanswered_ping_is_a_problem_until_one_is_answered(clock: Clock) -> None:
    health = PullHealth(clock)
    health.record_ping("no answer")
    clock.now += 60
    assert health.problem == "no answer"
    health.record_ping(None)
    assert health.problem is None


def test_an_unanswered_ping_is_forgotten_when_anything_is_heard(clock: Clock) -> None:
    health, puller = PullHealth(clock), Puller()
    health.record_ping("no answer")
    wait(health, clock, 5, puller)
    assert health.problem == "no answer"
    puller.responded = True
    wait(health, clock, 1, puller)
    assert health.problem is None
