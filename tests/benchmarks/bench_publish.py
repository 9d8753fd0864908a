"""How fast messages are stored: run `python tests/benchmarks/bench_publish.py [rounds]`.

Every way is measured in each round, one after the other, on one server; the median is printed.
Ratios within a run mean something, figures of different runs or machines little.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nats
from nats.js import JetStreamContext

from jtask_nats.client.connection import Connection
from jtask_nats.client.protocol import publish_command
from jtask_nats.client.publisher import PubAck, Publisher

BODY = b"x" * 200
SUBJECT = "bench.queue.0.0190d8c4-7b5a-7c3e-8f00-0a1b2c3d4e5f"
PIPELINED = 10_000
BY_THREADS = 2_000

Way = Callable[[str, int], Awaitable[None]]
"""Stores a number of messages whose ids start with a text."""


def msg_id(run: str, number: int) -> bytes:
    return f"Nats-Msg-Id: {run}-{number}\r\n".encode()


class Bare:
    """The least that stores and counts: no future, no retry, nothing kept. The floor."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._inbox = connection.new_inbox()
        self._left = 0
        self._done = asyncio.Event()
        connection.subscribe(self._inbox, self._count)

    async def publish(self, run: str, count: int) -> None:
        self._left = count
        self._done.clear()
        for n in range(count):
            self._connection.write(publish_command(SUBJECT, self._inbox, msg_id(run, n), BODY))
        await self._done.wait()

    def _count(self, subject: str, reply: str, data: bytes, headers: bytes | None) -> None:
        self._left -= 1
        if self._left == 0:
            self._done.set()


def pipelined_ways(
    connection: Connection, publisher: Publisher, stock: JetStreamContext
) -> dict[str, Way]:
    async def singles(run: str, count: int) -> None:
        await asyncio.gather(
            *(publisher.publish(SUBJECT, BODY, msg_id(run, n)) for n in range(count))
        )

    async def batches(run: str, count: int) -> None:
        for first in range(0, count, 1000):
            ids = range(first, first + 1000)
            await publisher.publish_batch([(SUBJECT, msg_id(run, n), BODY) for n in ids])

    async def nats_py(run: str, count: int) -> None:
        for first in range(0, count, 500):
            ids = [{"Nats-Msg-Id": f"{run}-{n}"} for n in range(first, first + 500)]
            await asyncio.gather(*(stock.publish(SUBJECT, BODY, headers=h) for h in ids))

    return {
        "floor: bare commands, answers counted": Bare(connection).publish,
        "Publisher.publish, pipelined": singles,
        "Publisher.publish_batch of 1000": batches,
        "nats-py gather(js.publish) by 500": nats_py,
    }


def thread_ways(publisher: Publisher, stock: JetStreamContext, threads: int) -> dict[str, Way]:
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(threads)

    def by_loop(body: bytes, headers: bytes) -> None:
        """Hand over to the loop as cheaply as it can be done, and wait."""
        stored = threading.Lock()
        stored.acquire()

        def start() -> None:
            publisher.publish(SUBJECT, body, headers).add_done_callback(finish)

        def finish(future: asyncio.Future[PubAck]) -> None:
            future.result()
            stored.release()

        loop.call_soon_threadsafe(start)
        stored.acquire()

    def by_coroutine(body: bytes, headers: bytes) -> None:
        msg = {"Nats-Msg-Id": headers[13:-2].decode()}
        publishing = stock.publish(SUBJECT, body, headers=msg)
        asyncio.run_coroutine_threadsafe(publishing, loop).result()

    def by_itself(body: bytes, headers: bytes) -> None:
        publisher.publish_from_thread(SUBJECT, body, headers)

    def spread(publish: Callable[[bytes, bytes], None]) -> Way:
        def work(run: str, count: int) -> None:
            for n in range(count):
                publish(BODY, msg_id(run, n))

        async def way(run: str, count: int) -> None:
            each = count // threads
            await asyncio.gather(
                *(loop.run_in_executor(pool, work, f"{run}-{k}", each) for k in range(threads))
            )

        return way

    label = f"{threads} thread{'s' if threads > 1 else ''}"
    return {
        f"{label}: Publisher.publish_from_thread": spread(by_itself),
        f"{label}: call_soon_threadsafe(Publisher.publish)": spread(by_loop),
        f"{label}: run_coroutine_threadsafe(js.publish)": spread(by_coroutine),
    }


async def measure(url: str, rounds: int) -> dict[str, list[float]]:
    connection = await Connection.open([url], name="bench", connect_timeout=10)
    stream = {"name": "BENCH", "subjects": ["bench.>"], "allow_atomic": True}
    await connection.api("STREAM.CREATE.BENCH", {**stream, "duplicate_window": 30_000_000_000})
    publisher = Publisher(connection, timeout=60)
    client = await nats.connect(url)
    stock = client.jetstream(timeout=60)
    ways = [(PIPELINED, pipelined_ways(connection, publisher, stock))]
    ways += [(BY_THREADS, thread_ways(publisher, stock, threads)) for threads in (1, 16)]
    rates: dict[str, list[float]] = {}
    for turn in range(rounds):
        for count, group in ways:
            for name, way in group.items():
                began = time.perf_counter()
                await way(f"{turn}-{name}", count)
                rates.setdefault(name, []).append(count / (time.perf_counter() - began))
                await connection.api("STREAM.PURGE.BENCH")
    await client.close()
    await connection.close()
    return rates


def start_server(folder: str) -> tuple[subprocess.Popen[bytes], str]:
    config = Path(folder) / "server.conf"
    config.write_text(
        f'listen: "127.0.0.1:-1"\nports_file_dir: "{folder}"\n'
        f'jetstream {{ store_dir: "{folder}/store" }}\n'
    )
    binary = Path(sysconfig.get_path("scripts")) / "nats-server"
    server = subprocess.Popen([binary, "-c", str(config), "-l", f"{folder}/server.log"])
    ports = Path(folder) / f"nats-server_{server.pid}.ports"
    while server.poll() is None:
        try:
            return server, json.loads(ports.read_text())["nats"][0]
        except (OSError, ValueError):
            time.sleep(0.01)
    raise SystemExit((Path(folder) / "server.log").read_text())


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main(rounds: int) -> None:
    factory: Any = loop_factory()
    with tempfile.TemporaryDirectory() as folder:
        server, url = start_server(folder)
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                rates = runner.run(measure(url, rounds))
        finally:
            server.kill()
            server.wait()
    print(f"{factory.__module__}, {len(BODY)} bytes, median of {rounds}: stored messages a second")
    for name, found in rates.items():
        print(f"{statistics.median(found):>10,.0f}  {name}  ({min(found):,.0f}-{max(found):,.0f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
