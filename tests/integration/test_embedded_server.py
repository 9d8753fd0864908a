"""The embedded server with the real nats-server and real processes."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nats
import pytest
from click.testing import CliRunner, Result
from nats.js.errors import APIError
from nats_clients import open_connection
from processes import freeze
from waiting import eventually

from jtask.cli.program import Program
from jtask.errors import BrokerTooOld, BrokerUnavailable, ConfigurationError
from jtask.ids import RunIds
from jtask.settings import get_settings
from jtask.worker.exit_codes import ExitCode
from jtask_nats import open_embedded, open_embedded_results
from jtask_nats.server import embedded
from jtask_nats.server.binary import find_server
from jtask_nats.server.embedded import Endpoint, ensure_server, server_status, stop_server
from jtask_nats.server.files import ServerFiles
from jtask_nats.server.lock import release_lock, take_lock

REFUSED = b"-ERR 'Authorization Violation'\r\n"
ENSURE = """
import json, sys
from pathlib import Path
from jtask_nats.server.embedded import ensure_server
sys.stdin.readline()
found = ensure_server(Path(sys.argv[1]))
print(json.dumps([found.pid, found.server_id, found.started]))
"""


@pytest.fixture
def set_env(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    def change(name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        get_settings.cache_clear()

    for name in ("JTASK_SERVER_SYNC", "JTASK_SERVER_STORE_LIMIT", "NATS_SERVER_BIN"):
        monkeypatch.delenv(name, raising=False)
    # Generous: the machine may be busy. Only tests of a failure wait for its end.
    change("JTASK_CONNECT_TIMEOUT", "20")
    yield change
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def home(tmp_path: Path, set_env: Callable[[str, str], None]) -> Iterator[Path]:
    folder = tmp_path / "data"
    yield folder
    stop_server(folder)


def kill_hard(server: Endpoint) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: is_unlocked(server.home))


def is_unlocked(home: Path) -> bool:
    lock = take_lock(home / "lock")
    if lock is None:
        return False
    release_lock(lock)
    return True


def log_in(port: int, **credential: object) -> bytes:
    """Return the server's answer to a CONNECT and a PING."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        stream = connection.makefile("rwb")
        assert stream.readline().startswith(b"INFO ")
        stream.write(
            b"CONNECT %s\r\nPING\r\n" % json.dumps({"verbose": False, **credential}).encode()
        )
        stream.flush()
        return stream.readline()


async def connect(server: Endpoint) -> nats.NATS:
    return await nats.connect(server.url, user=server.user, password=server.password)


def program(folder: Path, body: str, version: str = "2.15.1") -> Path:
    """Write a stand-in for nats-server that gives a version and otherwise does what is said."""
    path = folder / "stand-in"
    answer = f'[ "$1" = --version ] && echo nats-server: v{version} && exit 0'
    path.write_text(f"#!/bin/sh\n{answer}\n{body}\n")
    path.chmod(0o755)
    return path


def test_six_processes_at_once_start_exactly_one_server(home: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ENSURE, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate()[0]) for process in processes]
    assert len({(pid, server_id) for pid, server_id, _ in answers}) == 1
    assert [started for _, _, started in answers].count(True) == 1


def test_threads_at_once_start_exactly_one_server(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        servers = list(pool.map(lambda _: ensure_server(home), range(8)))
    assert len({server.server_id for server in servers}) == 1
    assert sum(server.started for server in servers) == 1


def test_the_server_outlives_its_starter(home: Path) -> None:
    starter = subprocess.run(
        [sys.executable, "-c", ENSURE, str(home)],
        input="go\n",
        capture_output=True,
        text=True,
        check=True,
    )
    pid, server_id, started = json.loads(starter.stdout)
    found = ensure_server(home)
    assert started
    assert (found.pid, found.server_id, found.started) == (pid, server_id, False)


def test_the_server_does_not_get_its_starters_ctrl_c(home: Path) -> None:
    server = ensure_server(home)
    assert server.pid is not None
    assert os.getsid(server.pid) == server.pid


def test_a_killed_server_comes_back_on_its_port_with_its_data_and_another_credential(
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
    kill_hard(first)
    second = ensure_server(home)
    assert second.started
    assert second.server_id != first.server_id
    assert second.port == first.port
    assert log_in(second.port, user=first.user, **{"pass": first.password}) == REFUSED
    assert asyncio.run(read(second)) == b"data"


def test_a_client_that_was_connected_gets_in_again_after_a_kill(home: Path) -> None:
    async def scenario() -> None:
        first = await asyncio.to_thread(ensure_server, home)
        client = await open_connection(first.url, home=str(home))
        back = asyncio.Event()
        client.on_reconnect(back.set)
        await asyncio.to_thread(kill_hard, first)
        await asyncio.to_thread(ensure_server, home)
        await asyncio.wait_for(back.wait(), 30)
        await client.close()

    asyncio.run(scenario())


def test_a_port_that_somebody_else_took_is_replaced_by_another(home: Path) -> None:
    first = ensure_server(home)
    assert stop_server(home)
    with socket.create_server(("127.0.0.1", first.port)):
        second = ensure_server(home)
        assert second.port != first.port
        assert log_in(second.port, user=second.user, **{"pass": second.password}) == b"PONG\r\n"


def test_a_port_taken_between_the_look_and_the_start_is_replaced_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ensure_server(home)
    assert stop_server(home)
    monkeypatch.setattr("jtask_nats.server.embedded._is_free", lambda port: True)
    with socket.create_server(("127.0.0.1", first.port)):
        assert ensure_server(home).port != first.port


def test_only_the_owner_can_read_the_folder_and_its_files(home: Path) -> None:
    home.mkdir(mode=0o755)
    old = os.umask(0)
    try:
        server = ensure_server(home)
    finally:
        os.umask(old)
    modes = {path: path.stat().st_mode & 0o777 for path in home.rglob("*")}
    assert home.stat().st_mode & 0o777 == 0o700
    assert server.password in (home / "endpoint.json").read_text()
    assert {home / "server.conf", home / "server.log", home / "server.pid"} <= modes.keys()
    assert not [path for path, mode in modes.items() if mode & 0o077]


@pytest.mark.parametrize(
    "credential", [{}, {"user": "jtask", "pass": "guess"}, {"auth_token": "x"}]
)
def test_nobody_gets_in_without_the_credential(home: Path, credential: dict[str, str]) -> None:
    server = ensure_server(home)
    assert log_in(server.port, **credential) == REFUSED


def test_two_folders_have_two_servers_and_two_credentials(home: Path) -> None:
    one, other = ensure_server(home / "one"), ensure_server(home / "other")
    try:
        assert one.server_id != other.server_id
        assert one.password != other.password
    finally:
        stop_server(home / "one")
        stop_server(home / "other")


def test_a_stopped_server_is_gone_when_stop_returns(home: Path) -> None:
    server = ensure_server(home)
    assert stop_server(home)
    assert is_unlocked(home)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert not stop_server(home)


def test_stopping_a_server_that_is_started_again_at_once_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_server(home)
    terminate = embedded._terminate  # pyright: ignore[reportPrivateUsage]

    def terminate_and_start_again(files: ServerFiles) -> int | None:
        told = terminate(files)
        eventually(lambda: is_unlocked(home))
        ensure_server(home)
        return told

    with monkeypatch.context() as used:
        used.setattr(embedded, "_terminate", terminate_and_start_again)
        with pytest.raises(BrokerUnavailable, match=r"has started it again .* end its workers"):
            stop_server(home)
    assert stop_server(home)


def test_looking_for_a_server_creates_no_folder(home: Path) -> None:
    assert server_status(home) is None
    assert not stop_server(home)
    assert not home.exists()


def test_the_status_describes_the_server_that_runs(
    home: Path, set_env: Callable[[str, str], None]
) -> None:
    set_env("JTASK_SERVER_SYNC", "always")
    server = ensure_server(home)
    set_env("JTASK_SERVER_SYNC", "interval")
    status = server_status(home)
    assert status is not None
    assert (status.url, status.pid, status.version) == (server.url, server.pid, server.version)
    assert status.sync == "always"
    assert status.store_limit == 10 * 1000**3
    assert status.log.read_text()
    assert 0 <= status.uptime < 3600


def test_the_disk_used_grows_with_what_is_stored(home: Path) -> None:
    async def store(server: Endpoint) -> None:
        client = await connect(server)
        stream = client.jetstream()
        await stream.add_stream(name="BIG", subjects=["big"])
        await stream.publish("big", bytes(500_000))
        await client.close()

    server = ensure_server(home)
    asyncio.run(store(server))
    status = server_status(home)
    assert status is not None
    assert status.disk_used > 400_000


def test_the_server_stores_no_more_than_its_limit_and_drops_nothing(
    home: Path, set_env: Callable[[str, str], None]
) -> None:
    async def fill(server: Endpoint) -> tuple[int, int]:
        client = await connect(server)
        stream = client.jetstream()
        await stream.add_stream(name="BIG", subjects=["big"])
        answers = await asyncio.gather(
            *(stream.publish("big", bytes(500_000)) for _ in range(20)), return_exceptions=True
        )
        refused = [answer for answer in answers if isinstance(answer, APIError)]
        kept = (await stream.stream_info("BIG")).state.messages
        await client.close()
        return len(refused), kept

    set_env("JTASK_SERVER_STORE_LIMIT", "3MB")
    refused, kept = asyncio.run(fill(ensure_server(home)))
    assert refused > 0
    assert kept == 20 - refused > 0


def test_messages_may_have_eight_megabytes(home: Path) -> None:
    async def largest(server: Endpoint) -> int:
        client = await connect(server)
        await client.close()
        return client.max_payload

    assert asyncio.run(largest(ensure_server(home))) == 8 * 1024**2


def test_a_server_with_other_settings_is_used_with_a_warning(
    home: Path, set_env: Callable[[str, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    first = ensure_server(home)
    assert ensure_server(home).server_id == first.server_id
    assert not caplog.records
    set_env("JTASK_SERVER_SYNC", "always")
    assert ensure_server(home).server_id == first.server_id
    assert "server_sync=interval" in caplog.text
    assert "jtask server stop" in caplog.text


def test_jtask_home_names_the_folder(home: Path, set_env: Callable[[str, str], None]) -> None:
    set_env("JTASK_HOME", str(home))
    assert ensure_server().home == home
    assert ensure_server(home).started is False


@pytest.mark.parametrize("opened", [open_embedded, open_embedded_results])
def test_a_folder_in_the_url_is_refused_with_the_setting_that_names_it(
    home: Path, opened: Any
) -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError, match="set JTASK_HOME to the folder"):
            await opened(f"embedded://{home}", RunIds().client, asyncio.get_running_loop())

    asyncio.run(main())
    assert server_status(home) is None


def test_a_folder_with_quotes_and_blanks_in_its_name_will_do(tmp_path: Path, home: Path) -> None:
    odd = home / 'a "b\\c $HOME é'
    server = ensure_server(odd)
    try:
        assert server.home == odd
        assert (odd / "store").is_dir()
    finally:
        stop_server(odd)


def test_a_folder_that_cannot_be_made_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match=f"{folder} .*JTASK_HOME"):
            ensure_server(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationError, match="JTASK_HOME"):
        ensure_server(tmp_path / "data")


def test_a_program_that_is_too_old_is_refused_before_it_touches_the_folder(
    tmp_path: Path, home: Path, set_env: Callable[[str, str], None]
) -> None:
    set_env("NATS_SERVER_BIN", str(program(tmp_path, f"touch {tmp_path}/ran", version="2.11.4")))
    with pytest.raises(BrokerTooOld, match=r"2\.11\.4.*2\.14\.0"):
        ensure_server(home)
    assert not (tmp_path / "ran").exists()
    assert is_unlocked(home)


def test_a_running_server_that_is_too_old_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_server(home)
    monkeypatch.setattr("jtask_nats.client.versions._FLOOR_NUMBERS", (99, 0, 0))
    with pytest.raises(BrokerTooOld, match="nats://127"):
        ensure_server(home)


def test_a_server_that_ends_at_once_is_reported_with_its_reason_and_its_log(
    home: Path,
) -> None:
    home.mkdir()
    (home / "store").write_text("not a folder")
    with pytest.raises(BrokerUnavailable) as failure:
        ensure_server(home)
    assert "storage directory is not a directory" in str(failure.value)
    assert str(home / "server.log") in str(failure.value)
    assert "[FTL]" not in str(failure.value)
    assert is_unlocked(home)


def test_what_a_server_prints_before_it_can_log_is_its_reason(
    tmp_path: Path, home: Path, set_env: Callable[[str, str], None]
) -> None:
    set_env("NATS_SERVER_BIN", str(program(tmp_path, "echo out of luck >&2; exit 3")))
    with pytest.raises(BrokerUnavailable, match="code 3: out of luck"):
        ensure_server(home)


def test_a_server_that_has_no_room_to_say_why_it_ends_is_spoken_for(
    tmp_path: Path,
    home: Path,
    set_env: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_env("NATS_SERVER_BIN", str(program(tmp_path, "exit 1")))
    with pytest.raises(BrokerUnavailable, match="code 1: no reason given"):
        ensure_server(home)
    monkeypatch.setattr(ServerFiles, "disk_free", lambda _: 8192)
    with pytest.raises(BrokerUnavailable, match="code 1: its disk has no room left"):
        ensure_server(home)


def test_a_server_that_is_slow_to_answer_is_left_running_and_found_later(
    tmp_path: Path, home: Path, set_env: Callable[[str, str], None]
) -> None:
    gate = tmp_path / "gate"
    wait = f'while [ ! -e {gate} ]; do sleep 0.02; done; exec {find_server()} "$@"'
    set_env("NATS_SERVER_BIN", str(program(tmp_path, wait)))
    set_env("JTASK_CONNECT_TIMEOUT", "0.3")
    try:
        for use in (ensure_server, server_status):
            with pytest.raises(BrokerUnavailable, match="does not answer"):
                use(home)
        assert not is_unlocked(home)
    finally:
        gate.touch()
    set_env("JTASK_CONNECT_TIMEOUT", "20")
    assert server_status(home) is not None
    assert ensure_server(home).started is False


def test_a_server_that_takes_long_to_stop_is_said_to_be_stopping(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = ensure_server(home).pid
    monkeypatch.setattr("jtask_nats.server.embedded._STOP_TIMEOUT", 0.3)
    freeze(pid)  # it is told to stop, and does not come to it
    monkeypatch.setattr("jtask_nats.server.embedded._find", lambda _: object())
    try:
        with pytest.raises(BrokerUnavailable, match="was told to stop, and has not ended after"):
            stop_server(home)
    finally:
        monkeypatch.undo()
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: is_unlocked(home))


def test_a_lock_that_nobody_answers_for_is_reported_within_the_connect_timeout(
    home: Path, set_env: Callable[[str, str], None]
) -> None:
    set_env("JTASK_CONNECT_TIMEOUT", "0.1")
    home.mkdir()
    lock = take_lock(home / "lock")
    assert lock is not None
    try:
        with pytest.raises(BrokerUnavailable, match=str(home)):
            ensure_server(home)
    finally:
        release_lock(lock)


def test_another_server_on_the_remembered_port_never_gets_the_credential(
    home: Path, set_env: Callable[[str, str], None]
) -> None:
    other = home / "other"
    stranger = ensure_server(other)
    ensure_server(home)
    stop_server(home)
    remembered = json.loads((home / "endpoint.json").read_text())
    (home / "endpoint.json").write_text(json.dumps({**remembered, "port": stranger.port}))
    set_env("JTASK_CONNECT_TIMEOUT", "0.1")
    lock = take_lock(home / "lock")
    assert lock is not None
    try:
        for use in (ensure_server, server_status):
            with pytest.raises(BrokerUnavailable):
                use(home)
    finally:
        release_lock(lock)
        stop_server(other)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_forked_while_the_lock_is_held_does_not_keep_it(home: Path) -> None:
    home.mkdir()
    lock = take_lock(home / "lock")
    assert lock is not None
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        os.close(reader)
        release_lock(lock)
        eventually(lambda: is_unlocked(home))
    finally:
        os.close(writer)
        os.waitpid(child, 0)


def test_a_server_that_dies_leaves_no_zombie_in_its_starter(home: Path) -> None:
    server = ensure_server(home)
    kill_hard(server)

    def is_gone() -> bool:
        try:
            os.kill(server.pid or 0, 0)
        except ProcessLookupError:
            return True
        return False

    eventually(is_gone)


def run(*arguments: str) -> Result:
    """Run a command as the program `jtask` does, which turns errors into sentences."""
    return CliRunner().invoke(Program(), ["server", *arguments])


def test_the_commands_start_show_and_stop_the_server(
    home: Path, set_env: Callable[[str, str], None]
) -> None:
    set_env("JTASK_HOME", str(home))
    assert run("status").exit_code == 1
    assert json.loads(run("status", "--json").stdout) == {"running": False}
    started = json.loads(run("start", "--json").stdout)
    assert started["started"] is True
    assert "already runs" in run("start").stdout
    shown = run("status")
    assert shown.exit_code == 0
    for fact in (started["url"], str(started["pid"]), str(home), "power cut can lose"):
        assert fact in shown.stdout
    facts = json.loads(run("status", "--json").stdout)
    assert (facts["running"], facts["pid"], facts["sync"]) == (True, started["pid"], "interval")
    assert json.loads(run("stop", "--json").stdout) == {"stopped": True}
    assert run("stop").stdout == "no server was running\n"


def test_no_command_shows_the_password(home: Path, set_env: Callable[[str, str], None]) -> None:
    set_env("JTASK_HOME", str(home))
    password = ensure_server().password
    for arguments in (["start"], ["start", "--json"], ["status"], ["status", "--json"]):
        assert password not in run(*arguments).output


def test_a_command_that_fails_says_why_in_one_sentence(
    tmp_path: Path, set_env: Callable[[str, str], None]
) -> None:
    (tmp_path / "file").write_text("")
    set_env("JTASK_HOME", str(tmp_path / "file"))
    failed = run("start")
    assert failed.exit_code == ExitCode.USAGE
    assert failed.output.startswith("Error: the embedded server cannot use its data folder")
    assert "Traceback" not in failed.output
