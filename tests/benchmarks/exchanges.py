"""The bounds of a round trip: what must happen between `delay()` and `result()`, and no more.

A message is stored and acknowledged; whoever has pulled gets it, stores a result under its id and
takes the message off the queue once that is stored; the result is pushed to whoever waits. Once by
bare sockets, one thread on each side, and once by nats-py.
"""

import asyncio
import itertools
import json
import sys
import time
from typing import Any, NamedTuple

from bounds import BODY, bare_socket, run
from harness import raw_connection
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RePublish, RetentionPolicy, StreamConfig

_KINDS = ("socket", "nats")
_PULL = json.dumps({"batch": 100_000, "expires": 600_000_000_000}).encode()
_numbers = itertools.count(time.time_ns())


async def make_streams() -> None:
    """Create for each kind a work queue, and a stream of results that pushes what it has stored."""
    nc = await raw_connection()
    js = nc.jetstream()
    for kind in _KINDS:
        queue = f"EX_{kind}_Q"
        await js.add_stream(
            StreamConfig(
                name=queue, subjects=[f"ex.{kind}.q.>"], retention=RetentionPolicy.WORK_QUEUE
            )
        )
        pushed = RePublish(src=f"ex.{kind}.r.>", dest=f"ex.{kind}.p.>")
        await js.add_stream(
            StreamConfig(name=f"EX_{kind}_R", subjects=[f"ex.{kind}.r.>"], republish=pushed)
        )
        await js.add_consumer(
            queue, ConsumerConfig(durable_name="w", ack_policy=AckPolicy.EXPLICIT)
        )
    await nc.close()


class SocketCaller:
    """One thread with one blocking socket."""

    def __init__(self) -> None:
        self._wire = _Wire()
        self._wire.send(b"SUB answers 1\r\nSUB ex.socket.p.* 2\r\n")

    def exchange(self, count: int, pause: float) -> list[float]:
        """Return the seconds of some round trips, one at a time."""
        times: list[float] = []
        for number in itertools.islice(_numbers, count):
            begun = time.perf_counter()
            head = b"NATS/1.0\r\nNats-Msg-Id: %d\r\n\r\n" % number
            sizes = (len(head), len(head) + len(BODY))
            line = b"HPUB ex.socket.q.x%d answers %d %d\r\n" % (number, *sizes)
            self._wire.send(line + head + BODY + b"\r\n")
            while self._wire.next_message().sid != b"2":
                pass
            times.append(time.perf_counter() - begun)
            time.sleep(pause)
        return times


def socket_worker() -> None:
    """Answer every message with a result, for ever."""
    wire = _Wire()
    wire.send(b"SUB stored 1\r\nSUB pulled 2\r\n")
    wire.send(_publish(b"$JS.API.CONSUMER.MSG.NEXT.EX_socket_Q.w", b"pulled", _PULL))
    to_ack = b""
    while True:
        message = wire.next_message()
        if message.sid == b"1":
            wire.send(_publish(to_ack, b"", b"+ACK"))
        elif message.reply:
            to_ack = message.reply
            token = message.subject.rpartition(b".")[2]
            wire.send(_publish(b"ex.socket.r." + token, b"stored", BODY))


class _Message(NamedTuple):
    subject: bytes
    sid: bytes
    reply: bytes


class _Wire:
    """A bare socket, its lines and messages."""

    def __init__(self) -> None:
        self._socket = bare_socket()
        self.send = self._socket.sendall
        self._received = b""

    def next_message(self) -> _Message:
        """Return the next message, without its body."""
        while True:
            line, end, rest = self._received.partition(b"\r\n")
            fields = line.split(b" ")
            is_message = fields[0] in (b"MSG", b"HMSG")
            size = int(fields[-1]) + 2 if end and is_message else 0
            if not end or len(rest) < size:
                self._received += self._socket.recv(1 << 16)
                continue
            self._received = rest[size:]
            if is_message:
                usual = 4 if fields[0] == b"MSG" else 5
                return _Message(fields[1], fields[2], fields[3] if len(fields) > usual else b"")
            if line == b"PING":
                self.send(b"PONG\r\n")


def _publish(subject: bytes, reply: bytes, body: bytes) -> bytes:
    return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(body), body)


class NatsCaller:
    """nats-py on the caller's own loop."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._js = nc.jetstream()
        self._waiting: dict[str, asyncio.Future[None]] = {}

    async def open(self) -> "NatsCaller":
        """Listen for the results."""
        await self._nc.subscribe("ex.nats.p.>", cb=self._received)
        return self

    async def exchange(self, count: int, pause: float) -> list[float]:
        """Return the seconds of some round trips, one at a time."""
        times: list[float] = []
        for number in itertools.islice(_numbers, count):
            over = self._waiting[f"x{number}"] = asyncio.get_running_loop().create_future()
            begun = time.perf_counter()
            await self._js.publish(
                f"ex.nats.q.x{number}", BODY, headers={"Nats-Msg-Id": str(number)}
            )
            await over
            times.append(time.perf_counter() - begun)
            await asyncio.sleep(pause)
        return times

    async def _received(self, message: Msg) -> None:
        self._waiting.pop(message.subject.rpartition(".")[2]).set_result(None)


async def nats_worker() -> None:
    """Answer every message with a result, for ever."""
    nc: Any = await raw_connection()
    js = nc.jetstream()

    async def received(message: Msg) -> None:
        if message.reply.startswith("$JS.ACK"):
            token = message.subject.rpartition(".")[2]
            await js.publish(f"ex.nats.r.{token}", message.data)
            await nc.publish(message.reply, b"+ACK")

    inbox = nc.new_inbox()
    await nc.subscribe(inbox, cb=received)
    await nc.publish("$JS.API.CONSUMER.MSG.NEXT.EX_nats_Q.w", _PULL, reply=inbox)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    if sys.argv[1] == "socket":
        socket_worker()
    else:
        run(nats_worker())
