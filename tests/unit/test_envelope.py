"""The wire format: what is written can be read, and its bytes do not change unnoticed."""

import json
import random
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jtask.errors import EnvelopeError, Failure
from jtask.outcomes import AttemptRecord, SettledRun
from jtask.states import State, StateName
from jtask.wire.envelope import (
    Envelope,
    EnvelopeTemplate,
    decode_envelope,
    decode_outcome,
    encode_outcome,
    plain_value,
)

RUN_ID = "01a1fff5-44eb-7316-bfb5-63cd9960aef8"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
instants = st.floats(min_value=0, max_value=4e9)
failures = st.builds(
    Failure,
    type=texts.filter(bool),
    message=texts,
    args=st.none() | st.lists(st.integers(-5, 5) | texts, max_size=3),
    traceback=texts,
    notes=st.lists(texts, max_size=2),
)
attempts = st.builds(
    AttemptRecord,
    number=st.integers(1, 99),
    started=st.none() | instants,
    ended=st.none() | instants,
    worker=texts,
    reason=texts,
    failure=st.none() | failures,
)
histories = st.lists(attempts, max_size=3).map(tuple)
envelopes = st.builds(
    Envelope,
    run_id=texts,
    task_key=texts,
    task_name=texts.filter(bool),
    serializer=st.sampled_from(["json", "cloudpickle"]),
    payload=st.binary(max_size=50),
    created=instants,
    attempt=st.integers(1, 99),
    tags=st.lists(texts, max_size=3).map(tuple),
    parent=st.none() | texts,
    headers=st.dictionaries(texts, texts, max_size=3),
    started=st.none() | instants,
    run_time=instants,
    expires=st.none() | instants,
    blob=st.none() | st.integers(0, 1 << 40),
    history=histories,
    blob_sha256=st.none() | texts,
)
settled_runs = st.builds(
    SettledRun,
    run_id=texts,
    task_key=texts,
    task_name=texts,
    state=st.builds(
        State,
        name=st.sampled_from(list(StateName)),
        at=instants,
        message=texts,
        details=st.dictionaries(texts, st.integers() | texts, max_size=2),
    ),
    attempt=st.integers(1, 99),
    created=instants,
    started=st.none() | instants,
    ended=instants,
    run_time=instants,
    worker=texts,
    serializer=st.sampled_from(["json", "cloudpickle"]),
    payload=st.binary(max_size=50),
    blob=st.none() | st.integers(0, 1 << 40),
    failure=st.none() | failures,
    history=histories,
    has_lines=st.booleans(),
)


@given(envelopes)
def test_an_envelope_comes_back_as_it_was(envelope: Envelope) -> None:
    assert decode_envelope(envelope.encode()) == envelope


@given(settled_runs)
def test_an_outcome_comes_back_as_it_was(run: SettledRun) -> None:
    assert decode_outcome(encode_outcome(run)) == run


@given(settled_runs)
def test_a_plain_value_is_found_in_what_says_nothing_else(run: SettledRun) -> None:
    end = State(StateName.COMPLETED, run.state.at)
    quoted = 'a "name","state":"Failed","at": \\'
    plain = SettledRun(
        RUN_ID, "key", quoted, end, run.attempt, 1.0, None, 2.0, 0.5, run.worker, "json", b"[1]"
    )
    for usual in (plain, replace(plain, has_lines=True)):
        assert plain_value(encode_outcome(usual)) == b"[1]"
    for unusual in (
        replace(plain, state=State(StateName.CACHED, run.state.at)),
        replace(plain, serializer="cloudpickle"),
        replace(plain, payload=b""),
        replace(plain, blob=7),
    ):
        assert plain_value(encode_outcome(unusual)) is None


@given(settled_runs, st.randoms(use_true_random=False), st.booleans())
def test_a_plain_value_is_what_the_whole_outcome_says_in_any_order(
    run: SettledRun, chance: random.Random, is_nested: bool
) -> None:
    head, _, payload = encode_outcome(run).partition(b"\n")
    facts = json.loads(head)
    if is_nested:
        # Looks like the end of another run, written as jtask does.
        told = {"name": "", "state": "Completed", "at": 0.0, "ser": "json"}
        facts["details"] = {"told": told, '","state":"Completed","at":': '"ser":"json"}'}
    mixed = list(facts.items())
    chance.shuffle(mixed)
    body = json.dumps(dict(mixed), separators=(",", ":")).encode() + b"\n" + payload
    if (found := plain_value(body)) is not None:
        whole = decode_outcome(body)
        said = (whole.state.name, whole.serializer, whole.blob, whole.payload)
        assert said == (StateName.COMPLETED, "json", None, found)


def written(template: EnvelopeTemplate, created: float, payload: bytes) -> bytes:
    return template.encode(RUN_ID, template.ending(created), payload)


@given(
    st.builds(EnvelopeTemplate, texts, texts.filter(bool), st.just("json")),
    st.integers(0, 4_000_000_000_000_000),
    st.binary(max_size=50),
)
def test_a_template_writes_an_envelope(
    template: EnvelopeTemplate, micros: int, payload: bytes
) -> None:
    envelope = decode_envelope(written(template, micros / 1e6, payload))
    assert (envelope.run_id, envelope.payload) == (RUN_ID, payload)
    assert envelope.created == pytest.approx(micros / 1e6, abs=1e-5)
    assert envelope.attempt == 1


@given(texts, texts.filter(bool))
def test_a_template_names_the_task_as_an_envelope_does(key: str, name: str) -> None:
    from_template = decode_envelope(written(EnvelopeTemplate(key, name, "json"), 1.5, b""))
    assert from_template == Envelope(RUN_ID, key, name, "json", b"", 1.5)


FULL = Envelope(
    run_id=RUN_ID,
    task_key="add-0123456789ab",
    task_name="add",
    serializer="json",
    payload=b'{"a":1}\n',
    created=1700000000.25,
    attempt=2,
    tags=("nightly", "ü"),
    parent="01a1fff5-0000-7316-bfb5-63cd9960aef8",
    headers={"traceparent": "00-1-2-01"},
    started=1700000001.0,
    run_time=0.5,
    expires=1700003600.0,
    blob=None,
    history=(
        AttemptRecord(
            1, 1700000001.0, 1700000001.5, "host-1", "once more", Failure("m.E", "no", [1])
        ),
    ),
)
SETTLED = SettledRun(
    run_id=RUN_ID,
    task_key="add-0123456789ab",
    task_name="add",
    state=State(StateName.FAILED, 1700000002.0, "the task raised E: no", {"limit": "gpu"}),
    attempt=2,
    created=1700000000.25,
    started=1700000001.0,
    ended=1700000002.0,
    run_time=0.75,
    worker="host-1",
    serializer="json",
    failure=Failure("m.E", "no", [1], "Traceback ...", ["a note"], Failure("m.F", "deeper")),
)
# These bytes are in brokers and in other languages' clients: they may be added to, never changed.
GOLDEN_ENVELOPE = (
    '{"v":1,"id":"01a1fff5-44eb-7316-bfb5-63cd9960aef8","task":"add-0123456789ab","name":"add",'
    '"ser":"json","created":1700000000.25,"attempt":2,"run_time":0.5,"tags":["nightly","ü"],'
    '"history":[{"attempt":1,"started":1700000001.0,"ended":1700000001.5,"worker":"host-1",'
    '"reason":"once more","error":{"type":"m.E","message":"no","args":[1]}}],'
    '"parent":"01a1fff5-0000-7316-bfb5-63cd9960aef8","headers":{"traceparent":"00-1-2-01"},'
    '"started":1700000001.0,"expires":1700003600.0}\n{"a":1}\n'
).encode()
GOLDEN_TEMPLATE = (
    b'{"v":1,"task":"add-0123456789ab","name":"add","ser":"json",'
    b'"id":"01a1fff5-44eb-7316-bfb5-63cd9960aef8","created":1700000000.250000}\n{"a":1}'
)
GOLDEN_SETTLED = (
    b'{"v":1,"id":"01a1fff5-44eb-7316-bfb5-63cd9960aef8","task":"add-0123456789ab","name":"add",'
    b'"state":"Failed","at":1700000002.0,"attempt":2,"created":1700000000.25,'
    b'"started":1700000001.0,"ended":1700000002.0,"run_time":0.75,"worker":"host-1","ser":"json",'
    b'"message":"the task raised E: no","details":{"limit":"gpu"},'
    b'"error":{"type":"m.E","message":"no","args":[1],"traceback":"Traceback ...",'
    b'"notes":["a note"],"cause":{"type":"m.F","message":"deeper"}}}\n'
)


def test_the_bytes_of_an_envelope_are_fixed() -> None:
    assert FULL.encode() == GOLDEN_ENVELOPE
    assert decode_envelope(GOLDEN_ENVELOPE) == FULL


def test_the_bytes_of_a_plain_envelope_are_fixed() -> None:
    template = EnvelopeTemplate("add-0123456789ab", "add", "json")
    assert written(template, 1700000000.25, b'{"a":1}') == GOLDEN_TEMPLATE


def test_the_bytes_of_an_outcome_are_fixed() -> None:
    assert encode_outcome(SETTLED) == GOLDEN_SETTLED
    assert decode_outcome(GOLDEN_SETTLED) == SETTLED


def test_another_language_may_leave_out_all_but_version_id_and_task() -> None:
    envelope = decode_envelope(b'{"v":1,"id":"x","task":"add"}\n{"a":1}')
    assert envelope == Envelope("x", "add", "add", "json", b'{"a":1}', 0.0)


def test_a_field_that_this_version_does_not_know_is_passed_over() -> None:
    assert decode_envelope(b'{"v":1,"id":"x","task":"add","colour":"red"}\n').run_id == "x"


@pytest.mark.parametrize("name", ["id", "task"])
def test_a_missing_field_is_named(name: str) -> None:
    head = {"v": 1, "id": "x", "task": "add"}
    del head[name]
    with pytest.raises(EnvelopeError, match=f"has no field '{name}'"):
        decode_envelope(json.dumps(head).encode() + b"\n")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "not JSON"),
        (b"\n", "not JSON"),
        (b"hello\n{}", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]\n", "not a JSON object"),
        (b'"v"\n', "not a JSON object"),
        (b"{}\n", "names no version"),
        (b'{"v":"1"}\n', "names no version"),
        (b'{"v":2,"id":"x","task":"t"}\n', "of version 2, this reads up to 1"),
    ],
)
@pytest.mark.parametrize("decode", [decode_envelope, decode_outcome])
def test_what_is_no_envelope_is_refused_in_one_sentence(
    decode: Any, body: bytes, sentence: str
) -> None:
    with pytest.raises(EnvelopeError, match=sentence):
        decode(body)


ENVELOPE_FIELDS = {*json.loads(GOLDEN_ENVELOPE.partition(b"\n")[0]), "blob"} - {"v"}
wrong = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -1, float("inf"), float("nan"), {"a": 1}, [["a", "b"]], [{}]])
    | texts
    | st.lists(st.integers(), max_size=2)
)
# What the worker does with an envelope relies on these.
KINDS: dict[str, Any] = {
    "run_id": str,
    "task_key": str,
    "task_name": str,
    "serializer": str,
    "created": float,
    "attempt": int,
    "tags": tuple,
    "parent": str | None,
    "headers": dict,
    "started": float | None,
    "run_time": float,
    "expires": float | None,
    "blob": int | None,
    "history": tuple,
}


@given(
    st.sampled_from(sorted(ENVELOPE_FIELDS)),
    wrong,
)
def test_a_field_is_of_its_kind_or_there_is_an_envelope_error(name: str, value: Any) -> None:
    head: dict[str, Any] = {"v": 1, "id": "x", "task": "t", name: value}
    try:
        envelope = decode_envelope(json.dumps(head).encode())
    except EnvelopeError:
        return
    assert [n for n, kind in KINDS.items() if not isinstance(getattr(envelope, n), kind)] == []
    texts_in = [*envelope.tags, *envelope.headers, *envelope.headers.values()]
    assert all(isinstance(text, str) for text in texts_in)


@given(
    st.sampled_from(sorted({*json.loads(GOLDEN_SETTLED), "blob", "history"})),
    wrong,
)
def test_an_odd_outcome_is_an_envelope_error_and_nothing_else(name: str, value: Any) -> None:
    head = json.loads(GOLDEN_SETTLED)
    head[name] = value
    with suppress(EnvelopeError):
        decode_outcome(json.dumps(head).encode())


HUGE = "x" * 4_000_000


@pytest.mark.parametrize("field", ["created", "started", "run_time", "expires"])
@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-1", "1e300", "9" * 4000, '"x"', "[]", f'"{HUGE}"']
)
def test_what_is_no_instant_is_refused_in_few_words(field: str, value: str) -> None:
    refused(f'"{field}":{value}')


@pytest.mark.parametrize("field", ["attempt", "blob"])
@pytest.mark.parametrize("value", ["-1", "1e300", "9" * 4000, "[]", "{}", f'"{HUGE}"', "1e20"])
def test_what_is_no_count_is_refused_in_few_words(field: str, value: str) -> None:
    refused(f'"{field}":{value}')


@pytest.mark.parametrize(
    "field", ["id", "task", "name", "ser", "parent", "tags", "headers", "history"]
)
@pytest.mark.parametrize("value", ["5", "true", f'"{HUGE}"'])
def test_a_field_of_another_type_or_size_is_refused_in_few_words(field: str, value: str) -> None:
    refused(f'"{field}":{value}')


def refused(field: str) -> None:
    head = '{"v":1,"id":"x","task":"t","name":"n","ser":"json","created":1,'
    with pytest.raises(EnvelopeError) as refusal:
        decode_envelope(f"{head}{field}}}\n".encode())
    assert len(str(refusal.value)) < 400
    assert str(refusal.value).isprintable()


def test_half_a_character_is_written_so_that_it_can_be_read() -> None:
    envelope = Envelope(RUN_ID, "t", "n", "json", b"", 1.0, tags=("\udc80",))
    assert decode_envelope(envelope.encode()).tags == ("\\udc80",)
