"""`jtask.connect` and `jtask.close`, with the broker down and up, from plain and async code."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest
from nats_servers import StartNats
from waiting import PATIENCE, eventually

import jtask
from jtask import Task, task
from jtask.client import current_client, get_client
from jtask.contract import Broker
from jtask.errors import BrokerUnavailable, ConfigurationError
from jtask.settings import get_settings
from jtask.testing import run_worker


@task
def double(number: int) -> int:
    return 2 * number


@task
async def slow_double(number: int) -> int:
    await asyncio.sleep(0.1)
    return 2 * number


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("JTASK_URL", "memory://connecting")
    monkeypatch.setenv("JTASK_CONNECT_TIMEOUT", "20")
    jtask.close()
    get_settings.cache_clear()
    yield
    jtask.close()
    get_settings.cache_clear()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a server that is down."""
    monkeypatch.setenv("JTASK_CONNECT_TIMEOUT", "0.3")
    get_settings.cache_clear()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"nats://me:secret@127.0.0.1:{taken.getsockname()[1]}"


def the_one_of(nowhere: str) -> str:
    return nowhere.replace("me:secret@", "")


def test_connecting_fails_at_once_where_the_broker_is_down(nowhere: str) -> None:
    with pytest.raises(
        BrokerUnavailable, match=f"no NATS server answered at {the_one_of(nowhere)}"
    ):
        jtask.connect(nowhere)


def test_connecting_from_a_loop_fails_at_once_where_the_broker_is_down(nowhere: str) -> None:
    async def main() -> None:
        with pytest.raises(BrokerUnavailable, match=the_one_of(nowhere)):
            await jtask.aconnect(nowhere)
        with pytest.raises(BrokerUnavailable, match=the_one_of(nowhere)):
            async with jtask.aconnect(nowhere):
                pytest.fail("it was entered")

    asyncio.run(main())


def test_a_connection_that_fails_changes_nothing(nowhere: str) -> None:
    with pytest.raises(BrokerUnavailable):
        jtask.connect(nowhere)
    assert os.environ["JTASK_URL"] == get_settings().url == "memory://connecting"
    assert jtask.connect().url == "memory://connecting"


def test_connecting_reaches_the_broker_and_closing_leaves_it(start_nats: StartNats) -> None:
    url = start_nats().url
    with jtask.connect(url) as connection:
        assert connection.url == url
        assert repr(connection) == f"<jtask connection to {url}>"
        assert current_client() is not None
        assert double.delay(1).state.name == "Scheduled"
    assert current_client() is None


def test_a_loop_goes_on_while_it_connects_and_closes(start_nats: StartNats) -> None:
    url = start_nats().url

    async def main() -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.ensure_future(turn())
        async with jtask.aconnect(url) as connection:
            assert connection.url == url
            assert turns > 1
        assert current_client() is None
        assert (await jtask.aconnect()).url == url
        before = turns
        await jtask.aclose()
        assert current_client() is None
        assert turns > before
        turning.cancel()

    asyncio.run(main())


def test_connecting_twice_is_connecting_once() -> None:
    jtask.connect()
    client = current_client()
    jtask.connect()
    jtask.connect("memory://connecting")
    assert current_client() is client


def test_a_process_is_not_connected_to_two_brokers() -> None:
    jtask.connect()
    with pytest.raises(ConfigurationError, match="is connected to memory://connecting: call"):
        jtask.connect("nats://me:secret@other:4222")
    jtask.close()
    assert jtask.connect("memory://other").url == "memory://other"


def test_the_url_stays_when_the_connection_is_closed_and_reaches_child_processes() -> None:
    with jtask.connect("memory://other"):
        pass
    assert jtask.connect().url == "memory://other"
    program = "import os; print(os.environ['JTASK_URL'])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stdout == b"memory://other\n"


def test_closing_what_is_not_connected_does_nothing() -> None:
    jtask.close()
    asyncio.run(jtask.aclose())
    assert current_client() is None


def test_who_waits_for_a_run_hears_that_the_process_disconnects() -> None:
    run = double.delay(1)
    raised: list[BaseException] = []
    waits = threading.Event()

    def wait() -> None:
        try:
            waits.set()
            run.result(PATIENCE)
        except BrokerUnavailable as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    waits.wait(PATIENCE)
    jtask.close()
    waiter.join(PATIENCE)
    assert f"get_run('{run.run_id}') connects again" in str(raised[0])


def test_a_handle_from_before_says_how_to_get_another() -> None:
    run = double.delay(1)
    jtask.close()
    with pytest.raises(BrokerUnavailable, match="connects again"):
        run.result(PATIENCE)
    with pytest.raises(BrokerUnavailable, match="connects again"):
        _ = run.state
    assert jtask.get_run(run.run_id).state.name == "Scheduled"


def test_the_import_of_jtask_does_not_load_what_connects() -> None:
    program = (
        "import jtask, sys\n"
        "heavy = ('jtask.client', 'jtask.client.connection', 'pydantic')\n"
        "print([m for m in heavy if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert said.stdout == b"[]\n"


@pytest.mark.parametrize("doubling", [double, slow_double], ids=["at-once", "after-a-while"])
def test_nothing_keeps_a_broker_alive_that_workers_have_used_and_that_is_closed(
    jtask_nats: str, doubling: Task[[int], int]
) -> None:
    brokers = list[weakref.ref[Broker]]()
    for number in range(3):
        with run_worker(doubling):
            assert doubling.delay(number).result(timeout=30) == 2 * number
            brokers.append(weakref.ref(get_client().broker))
        jtask.close()
    # What has ended a moment ago may be held by a thread that goes on.
    eventually(lambda: gc.collect() >= 0 and [ref() for ref in brokers] == [None] * 3)
