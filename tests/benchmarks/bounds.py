"""What bare nats-py can do on this machine, now: the measure beside each figure."""

import asyncio
import itertools
import json
import socket
import sys
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from harness import raw_connection
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StreamConfig

BODY = b'{"v":1,"task":"bench-0123456789ab","id":"' + b"0" * 36 + b'"}\n{"text":"hello"}'
RUN = (
    b'{"v":1,"task":"echo-0123456789ab","name":"echo","ser":"json","id":"%b",'
    b'"created":1790000000.000000}\n{"text":"hello","number":12345}' % (b"0" * 36)
)
_BATCH = 1_000
_IN_FLIGHT = 6  # batches
_REPLY_WINDOW = 1 << 20
_CHUNK = 1 << 16


class PipelinedPublisher:
    """Publish with integer reply tokens and hand-built commands, the fastest way on nats-py."""

    def __init__(self, nc: Client) -> None:
        self._nc: Any = nc
        self._prefix = nc.new_inbox()
        self._tokens = itertools.count()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

    async def open(self) -> "PipelinedPublisher":
        """Listen for the answers."""
        await self._nc.subscribe(
            f"{self._prefix}.*", cb=self._answered, pending_msgs_limit=_REPLY_WINDOW
        )
        return self

    async def publish(self, subject: str, body: bytes, message_id: str) -> "asyncio.Future[bytes]":
        """Send one message and return the future of its answer."""
        token = str(next(self._tokens))
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        head = f"NATS/1.0\r\nNats-Msg-Id: {message_id}\r\n\r\n".encode()
        reply = f"{self._prefix}.{token}"
        line = f"HPUB {subject} {reply} {len(head)} {len(head) + len(body)}\r\n".encode()
        await self._nc._send_command(line + head + body + b"\r\n")
        if self._nc._flush_queue.empty():
            await self._nc._flush_pending()
        return future

    async def _answered(self, message: Msg) -> None:
        future = self._waiting.pop(message.subject[len(self._prefix) + 1 :], None)
        if future is not None:
            future.set_result(message.data)


async def make_streams(nc: Client) -> None:
    """Create a work queue and a result stream shaped like jtask's."""
    js = nc.jetstream()
    await js.add_stream(
        StreamConfig(name="BOUND", subjects=["bound.q.>"], retention=RetentionPolicy.WORK_QUEUE)
    )
    await js.add_stream(
        StreamConfig(name="BOUND_R", subjects=["bound.r.>"], max_msgs_per_subject=1)
    )
    await js.add_consumer(
        "BOUND",
        ConsumerConfig(
            durable_name="w",
            ack_policy=AckPolicy.EXPLICIT,
            max_ack_pending=100_000,
            max_waiting=8192,
        ),
    )


async def make_batch_stream() -> None:
    """Create a stream set to what jtask's own of runs is set to."""
    nc = await raw_connection()
    found = json.loads((await nc.request("$JS.API.STREAM.INFO.JTASK_default")).data)
    config = {**found["config"], "name": "BATCH", "subjects": ["batch.>"], "metadata": {}}
    made = await nc.request("$JS.API.STREAM.CREATE.BATCH", json.dumps(config).encode())
    if "error" in (answer := json.loads(made.data)):
        raise RuntimeError(answer["error"])
    await nc.close()


async def publish_rate(count: int) -> float:
    """Return pipelined publishes a second."""
    nc = await raw_connection()
    await make_streams(nc)
    publisher = await PipelinedPublisher(nc).open()
    ids = [str(uuid.uuid4()) for _ in range(count)]
    begun = time.perf_counter()
    answers = [await publisher.publish(f"bound.q.{i}", BODY, i) for i in ids]
    await asyncio.gather(*answers)
    rate = count / (time.perf_counter() - begun)
    await nc.close()
    return rate


async def drain_span(count: int, concurrency: int) -> tuple[float, float]:
    """Return when the first came, and when the last of these was acked: pull, publish, ack.

    By a callback, with a result that is stored before the ack. Several can share a queue: none
    pulls more than it acks.
    """
    nc: Any = await raw_connection()
    publisher = await PipelinedPublisher(nc).open()
    inbox = nc.new_inbox()
    done = asyncio.get_running_loop().create_future()
    state = {"outstanding": 0, "pulled": 0, "acked": 0, "begun": 0.0}
    request = "$JS.API.CONSUMER.MSG.NEXT.BOUND.w"

    async def pull() -> None:
        batch = min(concurrency, count - int(state["pulled"]))
        if not batch:
            return
        state["pulled"] += batch
        state["outstanding"] += batch
        body = json.dumps({"batch": batch, "expires": 30_000_000_000}).encode()
        await nc.publish(request, body, reply=inbox)

    async def received(message: Msg) -> None:
        if not message.reply:
            return  # the end of a pull
        state["begun"] = state["begun"] or time.time()
        state["outstanding"] -= 1
        run = message.subject.rpartition(".")[2]
        answer = await publisher.publish(f"bound.r.{run}", message.data, run)
        answer.add_done_callback(lambda _: acknowledge(message))
        if state["outstanding"] <= concurrency // 2:
            await pull()

    acks: set[asyncio.Task[None]] = set()

    def acknowledge(message: Msg) -> None:
        ack = asyncio.get_running_loop().create_task(nc.publish(message.reply, b"+ACK"))
        acks.add(ack)
        ack.add_done_callback(acks.discard)
        state["acked"] += 1
        if state["acked"] == count:
            done.set_result(time.time())

    await nc.subscribe(inbox, cb=received, pending_msgs_limit=_REPLY_WINDOW)
    await pull()
    ended = await done
    await nc.flush()
    await nc.close()
    return state["begun"], ended


def bare_socket() -> socket.socket:
    """Return a blocking socket that is logged in to this process's embedded server."""
    from jtask_nats.server.embedded import ensure_server

    server = ensure_server()
    address = urlsplit(server.url)
    plain = socket.create_connection((address.hostname, address.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    plain.recv(_CHUNK)  # INFO
    login = {"user": server.user, "pass": server.password, "verbose": False, "headers": True}
    plain.sendall(b"CONNECT %b\r\nPING\r\n" % json.dumps(login).encode())
    while b"PONG" not in plain.recv(_CHUNK):
        pass
    return plain


class BlockingSocket:
    """The least that publishes one by one from a thread: a socket, no client library."""

    def __init__(self) -> None:
        self._socket = bare_socket()
        self._socket.sendall(b"SUB inbox 1\r\n")
        self._numbers = itertools.count()

    def rate(self, count: int) -> float:
        """Return publishes a second, each answered before the next."""
        begun = time.perf_counter()
        for _ in range(count):
            number = next(self._numbers)
            head = b"NATS/1.0\r\nNats-Msg-Id: s%d\r\n\r\n" % number
            sizes = (len(head), len(head) + len(BODY))
            line = b"HPUB bound.q.s%d inbox %d %d\r\n" % (number, *sizes)
            self._socket.sendall(line + head + BODY + b"\r\n")
            while b'"seq"' not in (answer := self._socket.recv(_CHUNK)):
                if not answer.startswith(b"PING"):
                    raise ConnectionError(f"no acknowledgement: {answer!r}")
        return count / (time.perf_counter() - begun)

    def batch_rate(self, count: int) -> float:
        """Return publishes a second in atomic batches of 1,000, as many in flight as jtask has."""
        begun, sent, stored, answers = time.perf_counter(), 0, 0, b""
        while stored < count:
            while sent < min(stored + _IN_FLIGHT * _BATCH, count):
                self._socket.sendall(self._batch(f"{begun}-{sent}".encode()))
                sent += _BATCH
            answers += self._socket.recv(_CHUNK)
            if b'"error"' in answers:
                raise ConnectionError(f"a batch was refused: {answers!r}")
            *whole, answers = answers.split(b'"seq"')
            stored += len(whole) * _BATCH
        return count / (time.perf_counter() - begun)

    def _batch(self, name: bytes) -> bytes:
        commands: list[bytes] = []
        for place in range(1, _BATCH + 1):
            # As long as jtask's own: a run id, a queue, an envelope.
            run = b"%036d" % next(self._numbers)
            head = b"NATS/1.0\r\nNats-Msg-Id: %b\r\nNats-Batch-Id: %b\r\n" % (run, name)
            head += b"Nats-Batch-Sequence: %d\r\n" % place
            head += b"Nats-Batch-Commit: 1\r\n\r\n" if place == _BATCH else b"\r\n"
            reply = b"inbox" if place == _BATCH else b""
            sizes = (len(head), len(head) + len(RUN))
            line = b"HPUB batch.default.q.echo-0123456789ab.0.%b %b %d %d\r\n" % (
                run,
                reply,
                *sizes,
            )
            commands.append(line + head + RUN + b"\r\n")
        return b"".join(commands)

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()


class InLoop:
    """nats-py on the caller's own loop.

    Args:
        nc: Its connection.
    """

    def __init__(self, nc: Client) -> None:
        self._js = nc.jetstream()
        self._numbers = itertools.count()

    async def one_by_one(self, count: int) -> float:
        """Return publishes a second, each awaited before the next."""
        begun = time.perf_counter()
        for _ in range(count):
            await self._publish()
        return count / (time.perf_counter() - begun)

    async def at_once(self, count: int) -> float:
        """Return publishes a second, all awaited together."""
        begun = time.perf_counter()
        await asyncio.gather(*(self._publish() for _ in range(count)))
        return count / (time.perf_counter() - begun)

    async def _publish(self) -> None:
        number = next(self._numbers)
        headers = {"Nats-Msg-Id": f"l{number}"}
        await self._js.publish(f"bound.q.l{number}", BODY, headers=headers)


def run(coroutine: Any) -> Any:
    """Run a coroutine on the fastest loop there is, as jtask does."""
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(coroutine)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def main() -> None:
    """Run one bound in this process and print its figures as JSON: `bounds.py NAME ARG...`."""
    name, *arguments = sys.argv[1:]
    numbers = [int(argument) for argument in arguments]
    if name == "drain":
        print(json.dumps(run(drain_span(*numbers))))
    elif name == "publish":
        print(json.dumps(run(publish_rate(*numbers))))


if __name__ == "__main__":
    main()
