"""Other users of the machine, their programs and their files, beside an embedded server."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from waiting import eventually, until

from jtask.contract import Message
from jtask.errors import ConfigurationError
from jtask.ids import RunIds
from jtask.settings import get_settings
from jtask_nats import open_embedded, opening
from jtask_nats.client.gate import Credential
from jtask_nats.server import embedded, gate, ownership
from jtask_nats.server.embedded import Endpoint, ensure_server, server_status, stop_server
from jtask_nats.server.files import ServerFiles
from jtask_nats.server.gate import EmbeddedGate
from jtask_nats.server.lock import release_lock, take_lock
from jtask_nats.server.peer import owner_of_peer

NOBODY = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/net/tcp")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("JTASK_HOME", str(folder))
    monkeypatch.setenv("JTASK_CONNECT_TIMEOUT", "20")
    monkeypatch.setenv("JTASK_ENQUEUE_TIMEOUT", "30")
    get_settings.cache_clear()
    yield folder
    monkeypatch.undo()
    with contextlib.suppress(ConfigurationError):
        stop_server(folder)
    get_settings.cache_clear()


class Stranger:
    """A program that greets on a port as the server that was there did, and keeps what it gets."""

    def __init__(self, port: int, greeting: bytes) -> None:
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", port))
        self.received = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.sendall(self._greeting)
                    while chunk := connection.recv(65_536):
                        self.received += chunk

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def greeting_of(server: Endpoint) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        return connection.makefile("rb").readline()


def kill_hard(server: Endpoint) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: server_status(server.home) is None)


def test_who_takes_the_port_of_a_dead_server_is_told_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that was connected goes on with the next server, on whatever port."""
    caplog.set_level("DEBUG", "jtask")
    may_revive = threading.Event()

    async def main() -> None:
        broker = await open_embedded("embedded://", RunIds().client, asyncio.get_running_loop())
        first = await asyncio.to_thread(ensure_server)
        greeting = greeting_of(first)

        def revive_later() -> Endpoint:
            may_revive.wait(30)
            return ensure_server()

        monkeypatch.setattr(opening, "ensure_server", revive_later)
        await asyncio.to_thread(kill_hard, first)
        stranger = Stranger(first.port, greeting)
        try:
            await until(lambda: b"CONNECT" in stranger.received or "not run" in caplog.text)
            may_revive.set()
            await broker.runs.enqueue([Message(RunIds().new(), "mails", b"{}")])
            assert await broker.queues.depth("mails") == 1
            moved = broker.url
            assert moved != first.url
            assert stranger.received == b""
            await asyncio.to_thread(kill_hard, await asyncio.to_thread(ensure_server))
            await until(lambda: f"connection to the NATS server at {moved} lost" in caplog.text)
        finally:
            may_revive.set()
            stranger.close()
            await broker.close()

    asyncio.run(main())


def test_the_record_of_a_dead_server_is_not_believed_while_the_next_one_is_started(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure_server()
    kill_hard(first)
    refused: list[bool] = []

    def look(*_: object) -> None:
        with pytest.raises(ConnectionRefusedError, match="does not run"):
            EmbeddedGate(first.home).find()
        refused.append(True)

    monkeypatch.setattr(embedded, "check_version", look)
    assert ensure_server().started
    assert refused


@on_linux
def test_the_user_at_the_other_end_of_a_connection_is_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as near, listener.accept()[0]:
            assert owner_of_peer(port, near.getsockname()[1]) == os.geteuid()
            assert owner_of_peer(port, 1) is None


@as_root
@on_linux
def test_another_users_program_is_told_nothing_though_it_knows_the_name_and_the_lock_is_held(
    home: Path,
) -> None:
    """As in the moment in which the next server is being started."""
    server = ensure_server(home)
    greeting = greeting_of(server)
    kill_hard(server)
    lock = take_lock(home / "lock")
    assert lock is not None
    program = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
        f"listener = socket.create_server(('127.0.0.1', {server.port})); print('up', flush=True)\n"
        f"near = listener.accept()[0]; near.sendall({greeting!r}); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", program]
    stranger = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"up\n"
        door = EmbeddedGate(home)
        assert door.find() == server.url
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            assert connection.makefile("rb").readline() == greeting
            with pytest.raises(ConnectionError, match="not the embedded server"):
                door.login(info_of(greeting), connection.getsockname()[1])
    finally:
        stranger.kill()
        stranger.communicate()
        release_lock(lock)


def info_of(greeting: bytes) -> dict[str, str]:
    info: dict[str, str] = json.loads(greeting.partition(b" ")[2])
    return info


def test_the_credential_is_given_to_this_users_server_only(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ensure_server(home)
    info = info_of(greeting_of(server))
    door = EmbeddedGate(home)
    door.find()
    assert door.login(info, 0) == Credential(server.user, server.password)
    with pytest.raises(ConnectionError, match="not the embedded server"):
        door.login({**info, "server_name": "another"}, 0)
    with monkeypatch.context() as patched:
        patched.setattr(gate, "owner_of_peer", Mock(return_value=os.geteuid() + 1))
        with pytest.raises(ConnectionError, match=f"{server.url} is a program of "):
            door.login(info, 0)
    kill_hard(server)
    with pytest.raises(ConnectionError, match="not the embedded server"):
        door.login(info, 0)
    with pytest.raises(ConnectionError, match="does not run"):
        door.find()


def every_use(home: Path) -> Iterator[str]:
    """Return what each way to a server says to a folder that it refuses."""
    for use in (ensure_server, stop_server, server_status):
        with pytest.raises(ConfigurationError) as refusal:
            use(home)
        yield str(refusal.value)


def test_a_folder_of_another_users_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    monkeypatch.setattr(ownership, "current_user", lambda: os.geteuid() + 1)
    for said in every_use(home):
        assert f"{home}, which belongs to " in said
        assert "JTASK_HOME" in said
    assert list(home.iterdir()) == []


@as_root
def test_root_does_not_adopt_a_folder_that_somebody_else_has_made(home: Path) -> None:
    home.mkdir(mode=0o777)
    os.chown(home, NOBODY, NOBODY)
    for said in every_use(home):
        assert "nobody" in said or str(NOBODY) in said
    assert list(home.iterdir()) == []
    assert home.stat().st_uid == NOBODY


@pytest.mark.parametrize(
    "name", ["lock", "starting", "server.log", "server.conf", "endpoint.json", "store"]
)
def test_links_in_the_folder_are_not_followed(home: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "precious"
    target.write_text("as it was")
    home.mkdir()
    (home / name).symlink_to(target)
    for said in every_use(home):
        assert f"{home / name}, which is a link" in said
    assert target.read_text() == "as it was"


@as_root
@pytest.mark.parametrize("name", ["endpoint.json", "server.pid", "store"])
def test_another_users_files_in_the_folder_are_refused(home: Path, name: str) -> None:
    home.mkdir()
    (home / name).write_text("1")
    os.chown(home / name, NOBODY, NOBODY)
    for said in every_use(home):
        assert f"{home / name}, which belongs to " in said


def test_a_folder_that_is_a_link_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    home.symlink_to(tmp_path / "elsewhere")
    for said in every_use(home):
        assert f"{home}, which is a link" in said


def test_links_of_this_users_above_the_folder_are_followed(home: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    server = ensure_server(tmp_path / "link" / "home")
    assert stop_server(server.home)


@as_root
def test_links_of_others_above_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk")
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    for said in every_use(link / "home"):
        assert f"{link}, which is a link of " in said
    assert list((tmp_path / "disk").iterdir()) == []


def test_a_folder_that_turns_foreign_later_ends_the_logins(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_server(home)
    door = EmbeddedGate(home)
    assert door.find()
    with monkeypatch.context() as patched:
        patched.setattr(ownership, "current_user", lambda: os.geteuid() + 1)
        with pytest.raises(ConfigurationError, match="belongs to"):
            door.find()


def test_looking_does_not_take_the_lock_from_anybody(home: Path) -> None:
    ServerFiles(home).prepare()
    lock = take_lock(home / "lock")
    assert lock is not None
    with pytest.raises(ConnectionError):
        EmbeddedGate(home).find()
    release_lock(lock)
    assert server_status(home) is None
