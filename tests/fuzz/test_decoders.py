"""Each decoder returns, or raises what it says, for any bytes; and it quotes little of them."""

import json
import logging
from collections.abc import Iterator

import pytest
from decoders import DECODERS
from fuzz_corpus import BODIES, ENVELOPES, HEADERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jtask.foreign_text import quoted, sendable, shown, shown_lines
from jtask_nats.client.protocol import Parser, ProtocolError
from jtask_nats.streams.subjects import decode_token, encode_token

# A busy machine pauses any example; what never ends is for the test's own timeout.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["9" * 5000, 10**400, "*", "01a1fff5-44eb-7316-bfb5-63cd9960aef8"]),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=20,
)


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Spare the report thousands of lines about what cannot be read."""
    logger = logging.getLogger("jtask")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@patient
@given(st.binary(max_size=2000))
def test_any_bytes(body: bytes) -> None:
    for decode in DECODERS:
        decode(body)


@settings(patient, max_examples=300)
@given(st.sampled_from(BODIES + ENVELOPES), st.data())
def test_what_was_seen_once_and_what_is_near_it(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    changed = body[:at] + data.draw(st.binary(max_size=4)) + body[at + 1 :]
    for decode in DECODERS:
        decode(changed)


@patient
@given(_JSON, st.binary(max_size=20))
def test_any_json(value: object, rest: bytes) -> None:
    line = json.dumps(value).encode()
    for decode in DECODERS:
        decode(line + b"\n" + rest)


def test_the_corpus() -> None:
    for body in (*BODIES, *ENVELOPES, *HEADERS):
        for decode in DECODERS:
            decode(body)


@pytest.mark.parametrize(
    "frame",
    [b"MSG a 1 -5\r\n\r\n", b"HMSG a 1 -1 5\r\n", b"HMSG a 1 10 5\r\n", b"x" * (2 << 20)],
)
def test_a_frame_of_a_size_that_cannot_be_ends_the_connection(frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        Parser({}, lambda line: None).feed(frame)


@patient
@given(st.text(st.characters()))
def test_shown_text_has_nothing_that_a_terminal_obeys(text: str) -> None:
    assert "\x1b" not in shown_lines(text)
    assert all(ord(char) >= 32 for char in shown(text))
    sendable(text).encode()
    shown(text).encode()


@patient
@given(st.recursive(st.text() | st.integers() | st.binary(), st.lists))
def test_what_is_quoted_is_one_short_line(value: object) -> None:
    assert len(quoted(value)) < 600
    assert "\n" not in quoted(value)


@patient
@given(st.text())
def test_a_token_gives_its_text_back(text: str) -> None:
    token = encode_token(text)
    assert decode_token(token) == sendable_or_replaced(text)
    assert not set(token) & set(" .*>\r\n")


def sendable_or_replaced(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
