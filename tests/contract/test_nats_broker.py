"""The NATS broker keeps the contract, on a real server that can die and come back."""

import asyncio
import json
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jtask.contract import FullBroker
from jtask.testing.contract import BrokerContract
from jtask_nats import open_broker

_BINARY = Path(sysconfig.get_path("scripts")) / "nats-server"
_START_TIMEOUT = 20.0  # seconds


class Server:
    """A nats-server on 127.0.0.1 that keeps its port and its store over restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = "-1"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        arguments = ["-js", "-sd", "store", "-a", "127.0.0.1", "-p", self._port]
        self._process = subprocess.Popen(
            [_BINARY, *arguments, "--ports_file_dir", ".", "-l", "server.log"], cwd=self._folder
        )
        self.url = self._await_url(self._process)
        self._port = self.url.rpartition(":")[2]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _await_url(self, process: subprocess.Popen[bytes]) -> str:
        ports = self._folder / f"nats-server_{process.pid}.ports"
        give_up = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < give_up and process.poll() is None:
            try:
                url: str = json.loads(ports.read_text())["nats"][0]
            except (OSError, ValueError):
                time.sleep(0.005)
            else:
                return url
        raise AssertionError((self._folder / "server.log").read_text())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


class TestNatsBroker(BrokerContract):
    server: Server

    @pytest.fixture(autouse=True)
    def _serve(self, server: Server) -> None:
        self.server = server

    async def open_broker(self, client: str) -> FullBroker:
        return await open_broker(self.server.url, client, asyncio.get_running_loop())

    async def restart(self) -> None:
        self.server.kill()
        await asyncio.to_thread(self.server.start)
