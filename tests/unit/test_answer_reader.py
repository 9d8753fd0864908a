"""Answers of a stream that follow one another are read in one step, and nothing else is."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jtask_nats.client.answer_reader import AnswerReader
from jtask_nats.client.protocol import Parser

PREFIX = "_INBOX.a.1."
Answered = list[tuple[str, list[int]]]


def message(subject: str, body: bytes, sid: bytes = b"7") -> bytes:
    return b"MSG %b %b %d\r\n%b\r\n" % (subject.encode(), sid, len(body), body)


def answer(group: int, place: int, body: bytes = b'{"stream":"S", "seq":5}') -> bytes:
    return message(f"{PREFIX}{group}-{place}", body)


def read(data: bytes, at: int = 0) -> tuple[Answered, int]:
    taken: Answered = []
    reader = AnswerReader(PREFIX, b"7", lambda group, places: taken.append((group, places)))
    return taken, reader.read(data, at)


OTHERS = {
    "a refusal": answer(1, 2, b'{"error":{"code":400},"stream":"S","seq":0}'),
    "a duplicate": answer(1, 2, b'{"stream":"S", "seq":5,"duplicate": true}'),
    "the answer to one message": message(f"{PREFIX}3", b'{"stream":"S", "seq":5}'),
    "one of another subscription": message(f"{PREFIX}1-2", b'{"stream":"S", "seq":5}', b"77"),
    "one on another subject": message("_INBOX.a.2.1-2", b'{"stream":"S", "seq":5}'),
    "one with headers": b"HMSG " + PREFIX.encode() + b"1-2 7 12 12\r\nNATS/1.0\r\n\r\n\r\n",
    "one that is cut": answer(1, 2)[:-1],
    "a line": b"PING\r\n",
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
def test_what_is_no_plain_answer_is_left_to_the_parser(other: bytes) -> None:
    plain = b"".join([answer(1, 0), answer(1, 1), answer(2, 0), answer(1, 7)])
    taken, end = read(b"PING\r\n" + plain + other + plain, at=6)
    assert end == 6 + len(plain)
    assert taken == [("1", [0, 1, 7]), ("2", [0])]


def test_a_message_whose_size_belies_its_look_is_left_to_the_parser() -> None:
    inner = answer(1, 2)
    body = b'{"stream":"S", "seq":5}\r\n' + inner
    assert read(message(f"{PREFIX}1-1", body)) == ([], 0)


def counted(data: bytes, sizes: list[int], *, has_reader: bool) -> Counter[str]:
    seen = Counter[str]()

    def take(group: str, places: list[int]) -> None:
        seen.update(f"{group}-{place}" for place in places)

    def handle(subject: str, reply: str, body: bytes, block: bytes | None) -> None:
        seen[subject.removeprefix(PREFIX)] += 1

    reader = AnswerReader(PREFIX, b"7", take)
    readers = {b"7": reader.read} if has_reader else {}
    parser = Parser({b"7": handle}, lambda line: seen.update([line.decode()]), readers)
    at = 0
    for size in [*sizes, len(data)]:
        if data[at : at + size]:
            parser.feed(data[at : at + size])
        at += size
    return seen


PIECES = st.one_of(
    st.builds(answer, st.integers(0, 3), st.integers(0, 300)),
    st.sampled_from([one for name, one in OTHERS.items() if name != "one that is cut"]),
)


@given(st.lists(PIECES, max_size=20), st.lists(st.integers(1, 200), max_size=8))
def test_with_a_reader_each_message_arrives_once_however_the_bytes_are_cut(
    pieces: list[bytes], sizes: list[int]
) -> None:
    data = b"".join(pieces)
    assert counted(data, sizes, has_reader=True) == counted(data, sizes, has_reader=False)
