"""A worker's reader says of each body what the decoder says, whatever it has read before."""

import json

import pytest

from jtask.errors import EnvelopeError
from jtask.wire.envelope import Envelope, EnvelopeTemplate, decode_envelope
from jtask.wire.envelope_reader import EnvelopeReader

ID = "01937789-0000-7000-8000-000000000001"
OTHER_ID = "01937789-0000-7000-8000-0000000000ff"
template = EnvelopeTemplate('k "1",', "näme", "json")


def encoded(template: EnvelopeTemplate) -> bytes:
    return template.encode(ID, template.ending(1.0), b"")


FIRST = template.encode(ID, template.ending(1.7e9), b"[]")
AGAIN = template.encode(OTHER_ID, template.ending(1.8e9 + 0.25), b'{"a":"\\n"}\n,"id":"')


def plain(**others: object) -> bytes:
    fields = {"v": 1, "task": "t", "name": "n", "ser": "json"} | others
    ends = {"id": ID, "created": 1.5}
    return json.dumps(fields | ends, separators=(",", ":")).encode() + b"\n"


BODIES = [
    FIRST,
    AGAIN,
    Envelope(ID, "t", "n", "json", b"p", 1.25).encode(),
    Envelope(ID, "t", "n", "json", b"p", 1.25, attempt=2, tags=("x",)).encode(),
    encoded(EnvelopeTemplate("t" * 3000, "n", "json")),
    plain(),
    plain(attempt=2),
    plain(headers={"id": "x"}),
    plain(id="first"),
    plain(task=1),
    plain(v=2),
    plain(v="1"),
    FIRST.replace(b"}\n", b',"attempt":3}\n'),
    FIRST.replace(b"1700000000.000000", b"1e400"),
    FIRST.replace(b"1700000000.000000", b"0x.1"),
    FIRST.replace(b"1700000000.000000", b"01.5"),
    FIRST.replace(b"1700000000.000000", b"0.5"),
    FIRST.replace(ID.encode(), b"A"),
    FIRST.replace(b"\n", b""),
    FIRST.replace(b"{", b"[", 1),
    b',"id":"',
    b"",
]


def read_or_refused(read: object, body: bytes) -> object:
    assert callable(read)
    try:
        return read(body)
    except EnvelopeError as error:
        return str(error)


@pytest.mark.parametrize("times", [1, 2])
def test_a_reader_reads_what_the_decoder_reads(times: int) -> None:
    reader = EnvelopeReader()
    for body in BODIES * times:
        for cut in (body, body[:-1], body[: len(body) // 2]):
            assert read_or_refused(reader.read, cut) == read_or_refused(decode_envelope, cut)


def test_what_one_task_has_taught_does_not_speak_for_another() -> None:
    reader = EnvelopeReader()
    assert reader.read(FIRST).task_name == "näme"
    other = encoded(EnvelopeTemplate('k "1",', "another", "json"))
    assert reader.read(other).task_name == "another"
    assert reader.read(AGAIN).run_id == OTHER_ID
