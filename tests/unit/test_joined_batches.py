"""Whole batches and groups are written by column, as one by one their messages and events are."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from jtask.contract import Event, EventGroup, Message, MessageGroup
from jtask.errors import BrokerError
from jtask.ids import RunIds
from jtask_nats.client import headers
from jtask_nats.client.batches import BATCH_LIMIT, AtomicBatch, BatchMessages
from jtask_nats.client.protocol import message_size, publish_command
from jtask_nats.stores.event_log import bodies, events_of, group_bodies, shard_of

BODIES = st.lists(st.binary(max_size=40), min_size=2, max_size=30)
ROWS = st.lists(st.tuples(st.text(max_size=30), st.text("0123456789abcdef")), max_size=60)
COMMON = Event("", "Scheduled", 1234567890.25, "x.é", 1, until=7.5, tags=('"eu"', "ü"), queue="q")


def rows(found: list[bytes], sizes: range) -> Any:
    return [(f"s.{n}", headers.message_id(f"m{n * 7}"), found[n]) for n in sizes]


@given(BODIES)
def test_a_batch_is_the_commands_of_its_messages(found: list[bytes]) -> None:
    messages = rows(found, range(len(found)))
    batch = AtomicBatch(BatchMessages.of(messages))
    command = batch.command("inbox")
    ((batch_id,),) = [set(re.findall(rb"Nats-Batch-Id: (\w+)\r\n", command))]
    commands: list[bytes] = []
    sizes: dict[int, str] = {}
    for number, (subject, lines, body) in enumerate(messages, 1):
        lines += b"Nats-Batch-Id: %b\r\nNats-Batch-Sequence: %d\r\n" % (batch_id, number)
        is_last = number == len(messages)
        lines += b"Nats-Batch-Commit: 1\r\n" if is_last else b""
        commands.append(publish_command(subject, "inbox" if is_last else "", lines, body))
        sizes.setdefault(message_size(lines, body), subject)
    assert command == b"".join(commands)
    assert (batch.size, batch.largest) == max(sizes.items())


@pytest.mark.parametrize("count", [0, 1, BATCH_LIMIT + 1])
def test_a_batch_has_two_to_a_thousand_messages(count: int) -> None:
    with pytest.raises(BrokerError, match=f"not {count}"):
        AtomicBatch(BatchMessages.of(rows([b""] * count, range(count))))


def test_a_group_of_messages_is_a_sequence_of_them() -> None:
    run_ids = RunIds().new_many(3)
    group = MessageGroup(run_ids, [b"a", b"b", b"c"], "q", 2, at=5.0, expires=9.0)
    messages = [Message(i, "q", b, 2, 5.0, 9.0) for i, b in zip(run_ids, group.bodies, strict=True)]
    assert list(group) == messages
    assert group[1:] == messages[1:]
    assert [group[place] for place in (0, -1)] == [messages[0], messages[-1]]
    assert len(group) == 3


@given(ROWS, st.integers(min_value=100, max_value=5_000))
def test_a_group_of_events_is_written_as_each_of_them_is(
    found: list[tuple[str, str]], limit: int
) -> None:
    run_ids = RunIds("0123456789").new_many(len(found))
    arguments, trace_ids = [row[0] for row in found], [row[1] for row in found]
    group = EventGroup(COMMON, run_ids, arguments, trace_ids)
    events = list(group)
    assert len(group) == len(events)
    assert group[1:] == events[1:]
    for event, run_id, row in zip(events, run_ids, found, strict=True):
        assert event == COMMON._replace(run_id=run_id, arguments=row[0], trace_id=row[1])
    written = list(group_bodies(group, limit))
    assert all(len(body) <= limit for _, body in written)
    read = [event for _, body in written for event in events_of(body)]
    wanted = [event for event in events if len(to_json([event])) <= limit]
    assert sorted(read) == sorted(wanted)
    for shard, body in written:
        its = events_of(body)
        assert {shard_of(event.run_id) for event in its} == {shard}
        assert list(bodies(its, limit)) == [body]
