"""The bound of draining many queues: the pulls and acks that a worker makes, and nothing else.

As many consumers as queues, set to what jtask's own are set to. Ten of them share the credit at a
time, and each has its turn after the others, as `jtask_nats.queues.pull_sizes` has it.
"""

import asyncio
import json
from collections import deque
from functools import partial
from typing import Any

from bounds import RUN, run
from harness import cpu_seconds, raw_connection
from nats.aio.client import Client
from nats.aio.msg import Msg

_SHARERS = 10
_PORTION = 10  # runs in a pull
_AT_ONCE = 500  # publishes
_TIMEOUT = 60.0  # seconds
_CONSUMER = {
    "ack_policy": "explicit",
    "ack_wait": 30_000_000_000,
    "max_deliver": -1,
    "max_waiting": 8_192,
    "max_ack_pending": 100_000,
}


def server_cost(queues: int, runs: int, pid: int) -> float:
    """Return the microseconds of the server's CPU time for each run that is pulled and acked.

    Args:
        queues: How many there are.
        runs: How many wait, spread over them.
        pid: The server's process.
    """
    return run(_server_cost(queues, runs, pid))


async def _server_cost(queues: int, runs: int, pid: int) -> float:
    nc = await raw_connection()
    found = dict((await _api(nc, "STREAM.INFO.JTASK_default"))["config"])
    stream = {**found, "name": "MANY", "subjects": ["many.>"], "metadata": {}}
    await _api(nc, "STREAM.CREATE.MANY", stream)
    for queue in range(queues):
        own = {
            "name": f"q{queue}",
            "durable_name": f"q{queue}",
            "filter_subject": f"many.{queue}.*",
        }
        config = {"stream_name": "MANY", "config": {**_CONSUMER, **own}}
        await _api(nc, f"CONSUMER.CREATE.MANY.q{queue}", config)
    for first in range(0, runs, _AT_ONCE):
        numbers = range(first, min(first + _AT_ONCE, runs))
        sent = (nc.request(f"many.{n % queues}.{n:036}", RUN, timeout=_TIMEOUT) for n in numbers)
        await asyncio.gather(*sent)
    begun = cpu_seconds(pid)
    await _Drain(nc, queues, runs).run()
    used = cpu_seconds(pid) - begun
    await nc.close()
    return used * 1e6 / runs


class _Drain:
    def __init__(self, nc: Client, queues: int, runs: int) -> None:
        self._nc: Any = nc
        self._inbox = nc.new_inbox()
        self._left = runs
        self._coming = dict.fromkeys(range(queues), 0)
        self._waiting = deque(range(queues))
        self._is_over = asyncio.Event()

    async def run(self) -> None:
        for queue in self._coming:
            await self._nc.subscribe(f"{self._inbox}.{queue}", cb=partial(self._received, queue))
        for _ in range(min(_SHARERS, len(self._waiting))):
            await self._pull_next()
        await self._is_over.wait()
        await self._nc.flush()

    async def _pull_next(self) -> None:
        if not self._waiting:
            return
        queue = self._waiting.popleft()
        self._coming[queue] = _PORTION
        request = json.dumps({"batch": _PORTION, "no_wait": True}).encode()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.MANY.q{queue}"
        await self._nc.publish(subject, request, reply=f"{self._inbox}.{queue}")

    async def _received(self, queue: int, message: Msg) -> None:
        if not message.reply:  # it has no more
            await self._pull_next()
            return
        await self._nc.publish(message.reply, b"+ACK")
        self._left -= 1
        self._coming[queue] -= 1
        if not self._left:
            self._is_over.set()
        elif not self._coming[queue]:
            self._waiting.append(queue)
            await self._pull_next()


async def _api(nc: Client, subject: str, body: object = None) -> dict[str, Any]:
    payload = b"" if body is None else json.dumps(body).encode()
    answered = await nc.request(f"$JS.API.{subject}", payload, timeout=_TIMEOUT)
    answer: dict[str, Any] = json.loads(answered.data)
    if "error" in answer:
        raise RuntimeError(f"{subject}: {answer['error']}")
    return answer
