"""Where outcomes are kept: the broker itself, or another store that a URL names."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from jtask.client.opening import open_broker
from jtask.client.separate_parts import compose
from jtask.contract import SEPARABLE, Broker, OutcomeRecord
from jtask.errors import BrokerUnavailable, ConfigurationError
from jtask.ids import RunIds
from jtask_memory import MemoryBroker

CLIENT = RunIds()


def run(body: Callable[[], Any]) -> Any:
    return asyncio.run(body())


async def of(url: str) -> Broker:
    return await open_broker(url, CLIENT.client)


@pytest.mark.parametrize("results_url", [None, "memory://one"])
def test_without_another_store_the_broker_is_used_as_it_is(results_url: str | None) -> None:
    async def body() -> None:
        parts = {} if results_url is None else {"results": results_url}
        broker = await open_broker("memory://one", CLIENT.client, parts)
        assert type(broker) is MemoryBroker

    run(body)


def test_outcomes_lie_in_the_other_store_and_there_only() -> None:
    async def body() -> None:
        both = await open_broker("memory://runs", CLIENT.client, {"results": "memory://outcomes"})
        outcome = OutcomeRecord(CLIENT.new(), b"done")
        assert await both.results.put(outcome) is True
        assert await both.results.get(outcome.run_id) == outcome
        assert await (await of("memory://outcomes")).results.get(outcome.run_id) == outcome
        assert await (await of("memory://runs")).results.get(outcome.run_id) is None

    run(body)


def test_who_watches_hears_of_outcomes_in_the_other_store() -> None:
    async def body() -> None:
        both = await open_broker("memory://runs", CLIENT.client, {"results": "memory://outcomes"})
        heard: asyncio.Queue[OutcomeRecord] = asyncio.Queue()
        await both.results.watch(CLIENT.client, heard.put_nowait, lambda: None)
        outcome = OutcomeRecord(CLIENT.new(), b"done")
        await (await of("memory://outcomes")).results.put(outcome)
        assert await heard.get() == outcome

    run(body)


def test_everything_but_outcomes_stays_with_the_broker() -> None:
    async def body() -> None:
        both = await open_broker("memory://runs", CLIENT.client, {"results": "memory://outcomes"})
        key = f"{CLIENT.new()}.result"
        await both.blobs.put(key, b"much")
        assert await (await of("memory://runs")).blobs.get(key) == b"much"
        assert await (await of("memory://outcomes")).blobs.get(key) is None
        assert both.url == "memory://runs"

    run(body)


def test_the_short_way_of_synchronous_callers_is_kept() -> None:
    async def body() -> None:
        both = await open_broker("memory://runs", CLIENT.client, {"results": "memory://outcomes"})
        assert hasattr(both.runs, "enqueue_from_thread")

    run(body)


class Store:
    """A result store that only has an end and a limit."""

    def __init__(self, inline_limit: int = 10) -> None:
        self.inline_limit = inline_limit
        self.closed = False
        self.put = self.get = self.watch = None
        self.url = "store://"
        for name in ("runs", "queues", *SEPARABLE):
            setattr(self, name, None)

    async def close(self) -> None:
        self.closed = True


class FailingBroker(Store):
    async def close(self) -> None:
        raise BrokerUnavailable("gone")


def test_a_body_must_fit_the_smaller_of_both() -> None:
    for limits in ((10, 20), (20, 10)):
        broker, store = (cast("Any", Store(limit)) for limit in limits)
        assert compose(broker, {"results": store}).inline_limit == 10


def test_the_store_is_closed_even_where_closing_the_broker_fails() -> None:
    store = Store()

    async def body() -> None:
        with pytest.raises(BrokerUnavailable):
            await compose(cast("Any", FailingBroker()), {"results": store}).close()

    run(body)
    assert store.closed


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        (
            ("memry://x", None),
            "JTASK_URL is 'memry://x': no broker has the scheme 'memry' "
            "(did you mean memory://...?); known: embedded://, memory://, nats://, tls://",
        ),
        (
            ("memory://x", "memry://x"),
            "JTASK_RESULTS_URL is 'memry://x': no result store has the scheme 'memry' "
            "(did you mean memory://...?); known: embedded://, memory://, nats://, tls://",
        ),
        (
            ("me:secret@localhost:4222", None),
            "JTASK_URL is 'localhost:4222', which has no scheme; "
            "known: embedded://, memory://, nats://, tls://",
        ),
        (
            ("pigeon://me:secret@roof", None),
            "JTASK_URL is 'pigeon://roof': no broker has the scheme 'pigeon' "
            "(is its package installed?); known: embedded://, memory://, nats://, tls://",
        ),
    ],
)
def test_a_scheme_that_nobody_has_is_refused_in_one_sentence(
    urls: tuple[str, str | None], message: str
) -> None:
    async def body() -> None:
        with pytest.raises(ConfigurationError) as refused:
            await open_broker(urls[0], CLIENT.client, {"results": urls[1]} if urls[1] else {})
        assert str(refused.value) == message

    run(body)
