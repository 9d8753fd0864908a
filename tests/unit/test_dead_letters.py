"""What a dead letter says, and which letters are meant: decisions only."""

import pytest

from jtask.contract import DeadLetter
from jtask.execution.dispositions import encode_dead_letter
from jtask.outcomes import SettledRun
from jtask.states import State, StateName
from jtask.wire.envelope import Envelope
from jtask.wire.failures import capture
from jtask_dead_letters.letters import Filter, Letter, read_letter


def letter(
    error: Exception | None = None,
    state: StateName = StateName.FAILED,
    at: float = 100.0,
    priority: int = 0,
) -> Letter:
    settled = SettledRun(
        run_id="r",
        task_key="add-012345678901",
        task_name="add",
        state=State(state, at, "why"),
        attempt=1,
        created=1.0,
        started=2.0,
        ended=3.0,
        run_time=1.0,
        worker="w",
        serializer="json",
        failure=None if error is None else capture(error),
    )
    message = Envelope("r", "add-012345678901", "add", "json", b'{"a":1}', 1.0).encode()
    body = encode_dead_letter("why", settled, message, priority)
    return read_letter(DeadLetter("r", "sums", "why", at, body))


def test_a_letter_says_what_ran_and_how_it_ended() -> None:
    read = letter(ValueError("no"))
    assert (read.task, read.name, read.queue) == ("add-012345678901", "add", "sums")
    assert (read.state, read.reason, read.error) == ("Failed", "why", "builtins.ValueError")
    assert read.envelope is not None
    assert read.envelope.payload == b'{"a":1}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]\nx",
        b'{"outcome":1}\n\xff',
        b'{"outcome":"{}"}\n{}',
        b'{"priority":10}\nx',
        b'{"priority":"9"}\nx',
    ],
    ids=range(7),
)
def test_a_letter_that_cannot_be_read_is_still_one(body: bytes) -> None:
    read = read_letter(DeadLetter("r", "sums", "why", 1.0, body))
    assert (read.outcome, read.envelope, read.state, read.name) == (None, None, "", "")
    assert read.priority == 0
    assert read.error == "jtask.errors.EnvelopeError"
    assert Filter(error="EnvelopeError").takes(read)


@pytest.mark.parametrize(
    ("wanted", "is_meant"),
    [
        (Filter(), True),
        (Filter(task="add"), True),
        (Filter(task="add-012345678901"), True),
        (Filter(task="ad"), False),
        (Filter(error="ValueError"), True),
        (Filter(error="builtins.ValueError"), True),
        (Filter(error="Error"), False),
        (Filter(since=100.0), True),
        (Filter(since=100.1), False),
        (Filter(until=100.0), False),
        (Filter(until=100.1), True),
        (Filter(task="add", error="KeyError"), False),
    ],
    ids=str,
)
def test_a_letter_is_meant_when_all_conditions_hold(wanted: Filter, is_meant: bool) -> None:
    assert wanted.takes(letter(ValueError("no"))) is is_meant


@pytest.mark.parametrize("priority", [0, 9])
def test_a_letter_knows_the_priority_of_the_run(priority: int) -> None:
    assert letter(priority=priority).priority == priority


def test_an_end_without_an_exception_goes_by_what_result_raises() -> None:
    assert letter(state=StateName.EXPIRED).error == "jtask.errors.RunExpired"
    assert Filter(error="RunCrashed").takes(letter(state=StateName.CRASHED))
