"""A run's history: whole where it is new, short where it is old, never too big."""

from jtask.errors import Failure
from jtask.outcomes import AttemptRecord
from jtask.wire.envelope import Envelope, decode_envelope
from jtask.wire.history import KEPT, bare, remember

LINES = "".join(f"  line {number}\n" for number in range(200)) + "ValueError: boom\n"


def attempt(number: int, failure: Failure | None = None) -> AttemptRecord:
    return AttemptRecord(number, 1.0, 2.0, "host-1", f"reason {number}", failure)


def after(count: int, failure: Failure | None = None) -> tuple[AttemptRecord, ...]:
    history: tuple[AttemptRecord, ...] = ()
    for number in range(1, count + 1):
        history = remember(history, attempt(number, failure))
    return history


def size(history: tuple[AttemptRecord, ...]) -> int:
    return len(Envelope("id", "key", "name", "json", b"", 1.0, history=history).encode())


def test_a_short_history_is_kept_whole() -> None:
    failure = Failure("builtins.ValueError", "boom", traceback=LINES)
    assert after(3, failure) == tuple(attempt(number, failure) for number in (1, 2, 3))


def test_older_attempts_keep_their_reason_and_the_last_lines_of_their_traceback() -> None:
    history = after(5, Failure("builtins.ValueError", "boom", traceback=LINES))
    assert [past.number for past in history] == [1, 2, 3, 4, 5]
    assert [past.reason for past in history] == [f"reason {number}" for number in range(1, 6)]
    for old in history[:2]:
        assert old.failure is not None
        assert (old.failure.type, old.failure.message) == ("builtins.ValueError", "boom")
        assert old.failure.traceback.startswith("...\n  line ")
        assert old.failure.traceback.endswith("  line 199\nValueError: boom\n")
        assert len(old.failure.traceback) <= 810
    for new in history[2:]:
        assert new.failure is not None
        assert new.failure.traceback == LINES


def test_of_very_many_attempts_the_newest_are_kept() -> None:
    history = after(KEPT + 7)
    assert [past.number for past in history] == list(range(8, KEPT + 8))


def test_the_worst_history_leaves_room_for_it_in_a_message() -> None:
    text = "x\n" * 32_000
    cause = Failure("a.B", text, [text], text, [text] * 3)
    worst = Failure("a.B", text, [text], text, [text] * 50, cause)
    assert size(after(KEPT + 5, worst)) < 400_000
    assert size(bare(after(KEPT + 5, worst))) < 10_000


def test_a_cut_history_travels() -> None:
    history = after(5, Failure("builtins.ValueError", "boom", traceback=LINES))
    body = Envelope("id", "key", "name", "json", b"", 1.0, history=history).encode()
    assert decode_envelope(body).history == history
