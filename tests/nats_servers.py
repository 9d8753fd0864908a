"""A real nats-server for a test, and a way to it that can be cut."""

import asyncio
import contextlib
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from free_ports import free_ports
from processes import freeze
from waiting import until

BINARY = Path(sysconfig.get_path("scripts")) / "nats-server"
_START_TIMEOUT = 20.0  # seconds


class NatsServer:
    """A nats-server on 127.0.0.1 that keeps its port and its store over restarts.

    Args:
        folder: For its files.
        jetstream: More lines for the `jetstream` block.
        config: More lines for the configuration.
    """

    def __init__(self, folder: Path, jetstream: str = "", config: str = "") -> None:
        self._folder = folder
        self._jetstream = jetstream
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        (self.port,) = free_ports()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self) -> None:
        config = self._write_config()
        log = str(self._folder / "server.log")
        self._process = subprocess.Popen([BINARY, "-c", str(config), "-l", log])
        self._await_ready()

    def folder_of_consumer(self, name: str) -> Path:
        """Where it keeps a consumer of the runs of the default namespace."""
        streams = self._folder / "store" / "jetstream" / "$G" / "streams"
        return streams / "JTASK_default" / "obs" / name

    def reload(self, config: str) -> None:
        """Go on with other lines in the configuration."""
        self._config = config
        self._write_config()
        self.process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        freeze(self.process.pid)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def _write_config(self) -> Path:
        config = self._folder / "server.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\n'
            f'ports_file_dir: "{self._folder}"\n'
            f'jetstream {{ store_dir: "{self._folder}/store"\n{self._jetstream} }}\n'
            f"{self._config}\n"
        )
        return config

    def _await_ready(self) -> None:
        listens = self._folder / f"nats-server_{self.process.pid}.ports"
        give_up = time.monotonic() + _START_TIMEOUT
        while not listens.exists():
            if time.monotonic() > give_up or self.process.poll() is not None:
                raise AssertionError((self._folder / "server.log").read_text())
            time.sleep(0.005)


StartNats = Callable[..., NatsServer]


@pytest.fixture
def start_nats(tmp_path: Path) -> Iterator[StartNats]:
    """Start servers of a test's own; arguments as for NatsServer."""
    servers: list[NatsServer] = []

    def start(jetstream: str = "", config: str = "") -> NatsServer:
        folder = tmp_path / f"nats{len(servers)}"
        folder.mkdir()
        server = NatsServer(folder, jetstream, config)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def nats_server(start_nats: StartNats) -> NatsServer:
    """A server with JetStream and no users."""
    return start_nats()


class Proxy:
    """A TCP proxy in front of a server that cuts the connection where a test wants it.

    Args:
        server: May be down; then whoever connects is cut off at once.
    """

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self.cut_before_answer: bytes | None = None
        """Cut instead of relaying the first answer that has this in it."""
        self.cut_after_request: bytes | None = None
        """Cut after relaying what the client sent up to and with this."""
        self.greetings: list[bytes] = []
        """What the next connections get instead of the server."""
        self.connections = 0
        self.cuts = 0

    async def start(self) -> str:
        self._listener = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return f"nats://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._listener.close()
        await until(lambda: len(asyncio.all_tasks()) == 1)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.greetings:
            writer.write(self.greetings.pop(0))
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        except OSError:  # the server is down
            writer.close()
            return
        ways = [
            asyncio.create_task(self._pass_requests(reader, far_writer)),
            asyncio.create_task(self._pass_answers(far_reader, writer)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (writer, far_writer):
            end.close()
            with contextlib.suppress(OSError):
                await end.wait_closed()

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(1 << 16):
            mark = self.cut_after_request
            if mark is not None and mark in data:
                self.cut_after_request = None
                self.cuts += 1
                writer.write(data[: data.index(mark) + len(mark)])
                await writer.drain()
                return
            writer.write(data)
            await writer.drain()

    async def _pass_answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(1 << 16):
            if self.cut_before_answer is not None and self.cut_before_answer in data:
                self.cut_before_answer = None
                self.cuts += 1
                return
            writer.write(data)
            await writer.drain()


@pytest.fixture
def proxy(nats_server: NatsServer) -> Proxy:
    """A proxy in front of `nats_server`."""
    return Proxy(nats_server)
