"""What is concluded about the clock of a server that says when it has answered."""

from datetime import UTC, datetime

import pytest

from jtask.contract import Message
from jtask_nats.queues.messages import new_run_message
from jtask_nats.streams.server_clock import ServerClock
from jtask_nats.streams.subjects import Subjects

NOW = 1_800_000_000.0
SUBJECTS = Subjects("shop")


class Wall:
    """Our clock."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def asked(clock: ServerClock, wall: Wall, ahead: float, there: float, back: float) -> None:
    """Ask a server whose clock is ahead; the request and the answer take their time."""
    sent = wall.now
    answered = datetime.fromtimestamp(sent + there + ahead, UTC).isoformat()
    wall.now += there + back
    clock.note(sent, answered)


@pytest.mark.parametrize("ahead", [0.0, 0.2, -0.2])
@pytest.mark.parametrize(("there", "back"), [(0.001, 0.001), (0.0, 9.0), (9.0, 0.0)])
def test_clocks_that_agree_are_never_corrected(ahead: float, there: float, back: float) -> None:
    wall = Wall()
    clock = ServerClock(wall)
    for _ in range(3):
        asked(clock, wall, ahead, there, back)
        assert clock.offset == 0.0


@pytest.mark.parametrize("ahead", [15.0, -15.0, 1.0, 86_400.0])
def test_a_difference_is_known_as_well_as_the_quickest_answer_shows_it(ahead: float) -> None:
    wall = Wall()
    clock = ServerClock(wall)
    for there, back in ((4.0, 5.0), (0.001, 0.001), (9.0, 0.1)):
        asked(clock, wall, ahead, there, back)
    assert clock.offset == pytest.approx(ahead, abs=0.003)
    assert clock.to_ours(clock.to_server(NOW)) == pytest.approx(NOW)


def test_a_clock_that_was_set_is_noticed() -> None:
    wall = Wall()
    clock = ServerClock(wall)
    for ahead in (15.0, 0.0, -15.0):
        asked(clock, wall, ahead, 0.001, 0.001)
        assert clock.offset == pytest.approx(ahead, abs=0.003)


def test_a_server_that_does_not_tell_its_time_is_taken_to_agree() -> None:
    clock = ServerClock(Wall())
    clock.note(NOW, "")
    assert clock.offset == 0.0


def test_a_run_is_scheduled_by_the_clock_of_the_server() -> None:
    wall = Wall()
    clock = ServerClock(wall)
    asked(clock, wall, 15.0, 0.0, 0.0)
    out = new_run_message(SUBJECTS, Message("r1", "mails", b"x", at=NOW + 2), clock)
    assert b"Jtask-At: %d\r\n" % ((NOW + 17) * 1000) in out.headers
    assert b"Nats-Schedule: @at 2027-01-15T08:00:16.750000Z\r\n" in out.headers
