"""When a request is sent again."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest
from virtual_loop import VirtualLoop

from jtask.errors import BrokerUnavailable
from jtask_memory import VirtualClock
from jtask_nats.client.jetstream_api import call_api
from jtask_nats.client.nats_errors import ConnectionClosed
from jtask_nats.client.protocol import Reply
from jtask_nats.client.repeated_requests import request_repeatedly

ANSWER = Reply(b"{}", None, None, "")


class Server:
    """Swallows what comes before an election is over; the connection may break meanwhile.

    Args:
        elected_at: When it begins to answer.
        delay: Seconds that each answer takes.
        breaks: How many requests find the connection broken.
    """

    url = "nats://there"
    is_connected = True

    def __init__(self, elected_at: float, delay: float = 0.01, breaks: int = 0) -> None:
        self._elected_at = elected_at
        self._delay = delay
        self._breaks = breaks
        self.copies: list[float] = []
        self.closed = False

    async def request(self, subject: str, payload: bytes = b"", *, timeout: float = 5.0) -> Reply:
        now = asyncio.get_running_loop().time()
        if self.closed:
            raise ConnectionClosed("closed")
        self.copies.append(now)
        if self._breaks:
            self._breaks -= 1
            raise BrokerUnavailable("broken")
        if now < self._elected_at or self._delay > timeout:
            await asyncio.sleep(timeout)
            raise BrokerUnavailable(f"no answer within {timeout:g} s")
        await asyncio.sleep(self._delay)
        return ANSWER


def run(main: Coroutine[Any, Any, float]) -> float:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(VirtualClock(0.0))) as runner:
        return runner.run(main)


async def ask(server: Server, timeout: float = 10.0) -> float:
    """Return how many seconds the answer took."""
    begun = asyncio.get_running_loop().time()
    assert await request_repeatedly(server, "api", b"", timeout) == ANSWER
    return asyncio.get_running_loop().time() - begun


@pytest.mark.parametrize("election", [0.1, 0.4, 2.0, 5.0, 9.0])
def test_an_election_costs_a_second_more_than_it_takes_at_most(election: float) -> None:
    assert election <= run(ask(Server(election))) <= election + 1.1


def test_a_call_of_jetstream_outlasts_an_election() -> None:
    async def call(server: Server) -> float:
        assert await call_api(server, "STREAM.PURGE.any", None) == {}
        return asyncio.get_running_loop().time()

    assert run(call(Server(9.0))) < 10.0


class Unready(Server):
    """Says each time that it cannot be done now."""

    async def request(self, subject: str, payload: bytes = b"", *, timeout: float = 5.0) -> Reply:
        error = {"code": 503, "err_code": 10008, "description": "temporarily unavailable"}
        return Reply(json.dumps({"error": error}).encode(), None, None, "")


def test_what_is_refused_only_for_now_until_the_time_is_up_counts_as_no_answer() -> None:
    async def call(server: Server) -> float:
        await call_api(server, "STREAM.MSG.GET.any", None, 3.0)
        return 0.0

    with pytest.raises(BrokerUnavailable, match=r"within 3 s .*temporarily unavailable.*10008"):
        run(call(Unready(0.0)))


def test_what_is_answered_is_asked_once() -> None:
    server = Server(0.0)
    assert run(ask(server)) < 0.1
    assert len(server.copies) == 1


def test_the_answer_to_any_copy_counts_however_slow() -> None:
    assert run(ask(Server(0.0, delay=4.0))) < 4.1


def test_a_lost_connection_is_no_end() -> None:
    assert run(ask(Server(0.0, breaks=3))) < 0.5


def test_the_time_is_that_of_all_copies() -> None:
    with pytest.raises(BrokerUnavailable, match="within 3 s"):
        run(ask(Server(60.0), timeout=3.0))


def test_a_connection_closed_for_good_is_the_end() -> None:
    server = Server(0.0)
    server.closed = True
    with pytest.raises(ConnectionClosed):
        run(ask(server))
