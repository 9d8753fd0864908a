"""What the NATS broker decides without a server."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from jtask.contract import Message, Pause, QueueInfo, WaitingRun
from jtask_nats.client import headers
from jtask_nats.client.direct_reads import StoredMessage
from jtask_nats.client.nats_errors import ApiError, StoreFull, api_error, is_gone
from jtask_nats.opening import servers_of
from jtask_nats.queues.holders import answers_to
from jtask_nats.queues.messages import InHand, new_run_message, rescheduled_message
from jtask_nats.queues.queue_counts import ConsumerCounts, queue_infos
from jtask_nats.queues.waiting_runs import waiting_run
from jtask_nats.stores.blobs import assemble
from jtask_nats.stores.counters import counter_value
from jtask_nats.stores.slots import Choice, Slot, choose_slot
from jtask_nats.streams.server_clock import ServerClock
from jtask_nats.streams.subjects import (
    AckSubject,
    Subjects,
    decode_token,
    encode_token,
    parse_ack_subject,
)

SUBJECTS = Subjects("shop")
NOW = 1_000_000.0
CLOCK = ServerClock(lambda: NOW)


def test_a_holder_keeps_its_slot() -> None:
    slots = {0: Slot("a", 7), 2: Slot("b", 9)}
    assert choose_slot(slots, "b", 3) == Choice(2, 9)


def test_a_new_holder_gets_a_free_slot_or_none() -> None:
    slots = {0: Slot("a", 7), 2: Slot("b", 9)}
    assert choose_slot(slots, "c", 3) == Choice(1, 0)
    assert choose_slot(slots, "c", 2) is None
    assert choose_slot({}, "c", 0) is None


def test_a_free_slot_of_an_endless_limit_is_chosen_among_few() -> None:
    slots = {number: Slot(str(number), 1) for number in range(100)}
    chosen = {choose_slot(slots, "new", 10**9) for _ in range(50)}
    assert all(choice is not None and 100 <= choice.number < 1000 for choice in chosen)
    assert len(chosen) > 1


def test_a_run_without_a_time_carries_only_its_id() -> None:
    out = new_run_message(SUBJECTS, Message("r1", "mails", b"x", 3), CLOCK)
    assert out == ("jtask.shop.q.mails.3.r1", b"Nats-Msg-Id: r1\r\n", b"x")


def test_a_run_far_off_is_scheduled_a_little_early() -> None:
    out = new_run_message(SUBJECTS, Message("r1", "mails", b"x", at=NOW + 60), CLOCK)
    assert out is not None
    assert out.subject == "jtask.shop.s.mails.0.r1"
    assert b"Nats-Schedule: @at 1970-01-12T13:47:39.750000Z\r\n" in out.headers
    assert b"Nats-Schedule-Target: jtask.shop.q.mails.0.r1\r\n" in out.headers
    assert b"Jtask-At: 1000060000\r\n" in out.headers


def test_a_run_that_the_scheduler_would_fire_late_goes_to_its_queue_at_once() -> None:
    out = new_run_message(SUBJECTS, Message("r1", "mails", b"x", at=NOW + 0.3), CLOCK)
    assert out is not None
    assert out.subject == "jtask.shop.q.mails.0.r1"
    assert b"Jtask-At: 1000000300\r\n" in out.headers


@pytest.mark.parametrize(("expires", "ttl"), [(NOW + 60, 86_460), (NOW - 9 * 86_400, 86_400)])
def test_a_run_that_expires_is_kept_a_day_longer_to_be_settled(expires: float, ttl: int) -> None:
    out = new_run_message(SUBJECTS, Message("r1", "mails", b"x", expires=expires), CLOCK)
    assert out.subject == "jtask.shop.q.mails.0.r1"
    assert b"Nats-TTL: %ds\r\n" % ttl in out.headers


def test_a_key_too_long_for_a_subject_is_told_apart_from_all_others() -> None:
    long = "\U0001f319" * 200
    subjects = {SUBJECTS.record("any", key) for key in (long, long + ".", long[1:], "==")}
    assert len(subjects) == 4
    assert max(map(len, subjects)) < 700
    assert headers.key_of(b"NATS/1.0\r\n" + headers.key(long) + b"\r\n") == long


def test_queues_are_put_together_from_consumers_subjects_and_pauses() -> None:
    served = [
        ConsumerCounts(("mails", "0"), 3, 1, was_used=True),
        ConsumerCounts(("mails", "9"), 2, 0, was_used=False),
        ConsumerCounts(("asked-for", "0"), 0, 0, was_used=False),
        ConsumerCounts(("idle", "0"), 0, 0, was_used=True),
    ]
    assert queue_infos(
        served, {"mails": 4, "new": 1}, {"later": 5, "mails": 0}, {"held": Pause(NOW)}
    ) == [
        QueueInfo("held", 0, 0, 0, Pause(NOW)),
        QueueInfo("idle", 0, 0, 0, None),
        QueueInfo("later", 0, 0, 5, None),
        QueueInfo("mails", 9, 1, 0, None),
        QueueInfo("new", 1, 0, 0, None),
    ]


@pytest.mark.parametrize(
    ("lines", "at"),
    [
        (b"Jtask-At: 1000060000\r\n", NOW + 60),
        (b"Nats-Schedule: @at 1970-01-12T13:47:40Z\r\n", NOW + 60),
        (b"Jtask-At: 999999999\r\n", None),
        (b"Nats-Schedule: @every 5s\r\n", None),
        (b"Nats-Schedule: @at soon\r\n", None),
        (b"", None),
    ],
)
def test_the_instant_that_a_run_waits_for_is_read(lines: bytes, at: float | None) -> None:
    block = b"NATS/1.0\r\n" + lines + b"\r\n"
    stored = StoredMessage("jtask.shop.s.mails.0.r1", 7, "", block, b"x")
    assert waiting_run(stored, CLOCK) == WaitingRun("r1", "mails", at, b"x")


@pytest.mark.parametrize("delay", [-1, 0.1, 9])
def test_a_run_put_off_is_stored_only_while_its_message_is_the_latest(delay: float) -> None:
    out = rescheduled_message(
        SUBJECTS, Message("r1", "mails", b"x", at=NOW + delay), InHand(0, 7), CLOCK
    )
    expected = b"Nats-Expected-Last-Subject-Sequence"
    assert b"Nats-Msg-Id: r1:7\r\n" in out.headers
    assert expected + b": 7\r\n" in out.headers
    assert expected + b"-Subject: jtask.shop.q.mails.0.r1\r\n" in out.headers


@pytest.mark.parametrize("delay", [-1, 0.1, 9])
def test_nothing_rolls_up_what_may_be_in_hand(delay: float) -> None:
    out = rescheduled_message(
        SUBJECTS, Message("r1", "mails", b"x", at=NOW + delay), InHand(0, 7), CLOCK
    )
    assert b"Rollup" not in out.headers


@pytest.mark.parametrize("text", ["plain_-9", "a.b", "", "=", "ü *>", "=2e"])
def test_any_text_can_be_a_token(text: str) -> None:
    part = encode_token(text)
    assert part
    assert not set(part) & set(".*> ")
    assert decode_token(part) == text


def test_a_claim_is_read_from_either_form_of_its_subject() -> None:
    short = "$JS.ACK.S.mails_0.2.17.30.1795294849061288519.4"
    long = "$JS.ACK.hub.hash.S.mails_0.2.17.30.1795294849061288519.4.rnd"
    claim = AckSubject(2, 17, 1795294849061288519 / 1e9, 4)
    assert parse_ack_subject(short) == parse_ack_subject(long) == claim


def test_only_chunks_of_the_last_writing_make_a_blob() -> None:
    def chunk(number: int, writing: str, body: bytes) -> StoredMessage:
        block = b"NATS/1.0\r\nJtask-Part: %b\r\n\r\n" % writing.encode()
        return StoredMessage(f"jtask.shop.b.k.{number}", number, "", block, body)

    old, new = [chunk(2, "a/3", b"old")], [chunk(1, "b/2", b"2"), chunk(0, "b/2", b"1")]
    assert assemble([*old, *new]) == b"12"
    assert assemble(new[1:]) is None
    assert assemble([]) is None


def test_a_counter_is_read() -> None:
    assert counter_value(b'{"val":"-12"}') == -12


def test_a_url_may_name_several_servers_and_one_user() -> None:
    assert servers_of("nats://me:pw@one:1,two:2/") == ["nats://me:pw@one:1", "nats://me:pw@two:2"]


def test_an_instant_is_never_rounded_to_an_earlier_one() -> None:
    assert headers.millis(1.0001) == 1001


@pytest.mark.parametrize(
    ("code", "description", "gone"),
    [
        (10037, "no message found", True),
        (10043, "sequence 7 not found", True),
        (10057, "no message found", True),
        (10057, "stream store EOF", True),
        (10057, "disk failure", False),
        (10059, "stream not found", False),
    ],
)
def test_only_a_message_that_somebody_else_has_deleted_is_gone(
    code: int, description: str, gone: bool
) -> None:
    assert is_gone(ApiError(500, code, description)) is gone


def test_a_rescheduled_message_says_how_many_workers_the_run_lost() -> None:
    message = Message("id", "mails", b"body", at=NOW + 60)
    for lost, expected in ((0, b""), (2, b"Jtask-Lost: 2\r\n")):
        out = rescheduled_message(Subjects("shop"), message, InHand(0, 7, lost), CLOCK)
        assert (b"Jtask-Lost" in out.headers) == bool(lost)
        assert expected in out.headers


@pytest.mark.parametrize(
    ("question", "sizes"),
    [(b"a0 b", [1]), (b"b", []), (b"", []), (b"*", [1000, 500])],
    ids=["for one", "for another", "for none", "for all"],
)
def test_who_is_asked_for_runs_answers_with_its_own_in_messages_that_a_server_takes(
    question: bytes, sizes: list[int]
) -> None:
    held = [f"a{number}" for number in range(1500)]
    answers = [answer.decode().split() for answer in answers_to(question, held)]
    assert [len(answer) for answer in answers] == sizes
    assert {one for answer in answers for one in answer} <= set(held)


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_what_a_server_refuses_can_be_raised_in_another_process(again: Callable[..., Any]) -> None:
    said = {"code": 503, "err_code": 10023, "description": "insufficient resources"}
    error = api_error(said, "jtask.default.q.mails.0.x")
    found = again(error)
    assert type(found) is StoreFull
    assert (str(found), vars(found)) == (str(error), vars(error))


def test_a_stream_that_a_full_disk_has_no_place_for_is_want_of_room_and_not_a_refusal() -> None:
    description = "error creating store for stream"
    error = api_error({"code": 500, "err_code": 10049, "description": description}, "x")
    assert type(error) is StoreFull
    assert str(error).endswith("its disk may be full: its log says why; make room")
