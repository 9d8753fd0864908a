"""The embedded server comes back when it is lost, by whoever notices."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jtask.contract import Message
from jtask.ids import RunIds
from jtask.settings import get_settings
from jtask_nats import open_embedded
from jtask_nats.server.embedded import ensure_server, stop_server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of the test's own."""
    monkeypatch.setenv("JTASK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("JTASK_CONNECT_TIMEOUT", "20")
    monkeypatch.setenv("JTASK_ENQUEUE_TIMEOUT", "30")
    get_settings.cache_clear()
    yield tmp_path / "home"
    stop_server()
    get_settings.cache_clear()


def test_a_client_starts_a_server_that_was_killed_again(home: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        broker = await open_embedded("embedded://", RunIds().client, loop)
        url = broker.url
        await broker.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        server = await asyncio.to_thread(ensure_server)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await broker.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
        assert await broker.queues.depth("mails") == 2
        assert broker.url == url
        await broker.close()

    asyncio.run(main())
