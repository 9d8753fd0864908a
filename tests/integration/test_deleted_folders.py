"""The data folder of the embedded server is deleted while it runs."""

import asyncio
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from nats_clients import open_connection
from waiting import eventually

from jtask.settings import get_settings
from jtask_nats.server.embedded import Endpoint, ensure_server, server_status, stop_server
from jtask_nats.server.orphans import find_orphans

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it lists no open files")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("JTASK_CONNECT_TIMEOUT", "30")  # the machine may be busy
    get_settings.cache_clear()
    yield tmp_path / "data"
    stop_server(tmp_path / "data")
    monkeypatch.undo()
    get_settings.cache_clear()


async def connect(server: Endpoint) -> nats.NATS:
    return await nats.connect(server.url, user=server.user, password=server.password)


def is_over(server: Endpoint) -> bool:
    assert server.pid is not None
    return not Path(f"/proc/{server.pid}/cwd").exists()


def test_whoever_starts_the_next_server_ends_the_one_whose_folder_was_deleted(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = ensure_server(home)
    shutil.rmtree(home)
    second = ensure_server(home)
    assert second.started
    eventually(lambda: is_over(first))
    [record] = [one for one in caplog.records if "was deleted" in one.message]
    assert str(home) in record.message
    assert f"pid {first.pid}" in record.message


def test_who_was_connected_comes_to_the_next_server(home: Path) -> None:
    async def scenario() -> None:
        first = await asyncio.to_thread(ensure_server, home)
        client = await open_connection(first.url, home=str(home))
        back = asyncio.Event()
        client.on_reconnect(back.set)
        shutil.rmtree(home)
        await asyncio.to_thread(ensure_server, home)
        await asyncio.wait_for(back.wait(), 30)
        await client.close()

    asyncio.run(scenario())


def test_a_server_whose_folder_was_deleted_can_be_stopped(home: Path) -> None:
    server = ensure_server(home)
    shutil.rmtree(home)
    assert server_status(home) is None
    assert stop_server(home) is True
    eventually(lambda: is_over(server))
    assert stop_server(home) is False
    assert not home.exists()


def test_a_server_of_which_only_the_lock_was_deleted_leaves_its_data_to_the_next(
    home: Path,
) -> None:
    async def store(server: Endpoint) -> None:
        client = await connect(server)
        stream = client.jetstream()
        await stream.add_stream(name="KEPT", subjects=["kept"])
        await stream.publish("kept", b"data")
        await client.close()

    async def read(server: Endpoint) -> bytes | None:
        client = await connect(server)
        message = await client.jetstream().get_msg("KEPT", 1)
        await client.close()
        return message.data

    first = ensure_server(home)
    asyncio.run(store(first))
    (home / "lock").unlink()
    second = ensure_server(home)
    assert second.started
    assert is_over(first)
    assert asyncio.run(read(second)) == b"data"


def test_a_server_whose_folder_was_moved_is_ended_and_its_data_stay_where_they_are(
    home: Path,
) -> None:
    first = ensure_server(home)
    moved = home.rename(home.with_name("moved"))
    second = ensure_server(home)
    assert second.started
    assert is_over(first)
    third = ensure_server(moved)
    assert third.started
    assert third.port == first.port
    stop_server(moved)


def test_a_living_server_and_that_of_another_folder_are_no_orphans(home: Path) -> None:
    other = home.parent / "other"
    ensure_server(home)
    server = ensure_server(other)
    shutil.rmtree(other)
    assert find_orphans(home / "server.conf", home / "lock") == set()
    assert find_orphans(other / "server.conf", other / "lock") == {server.pid}
    assert stop_server(other) is True
