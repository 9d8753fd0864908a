"""The embedded server: one real nats-server per data folder, shared by all its processes.

Whoever needs it first starts it; it outlives its starter, listens on 127.0.0.1 only and lets in
only who can read the data folder. When it dies, whoever needs it next starts it again, with another
credential; who was connected reads that in the folder (see `gate`).
"""

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from jtask.errors import BrokerUnavailable, PermissionDenied
from jtask.randomness import RANDOM
from jtask.settings import get_settings, settings_of
from jtask_nats.client.versions import check_version
from jtask_nats.server.binary import ask_version, find_server
from jtask_nats.server.config import HOST, ServerRecord, last_problem, parse_size
from jtask_nats.server.files import ServerFiles, data_folder, folder_errors
from jtask_nats.server.info import ServerInfo, ask_info
from jtask_nats.server.lock import is_held, release_lock, take_lock
from jtask_nats.server.orphans import end_orphans, find_orphans
from jtask_nats.settings import NatsSettings, Sync

# Below the range from which systems give ports to outgoing connections: one of those could sit on
# the port of a server that is down and keep it from coming back.
_PORTS = range(20_000, 30_000)
_PORT_CHOICES = 20
_STOP_TIMEOUT = 60.0  # seconds; the server takes 10 ms for each consumer (2.15.1)
_ROOM = 1_000_000  # bytes; with less, a full disk is what has most likely ended a server
_READY_POLL = 0.002  # seconds; a start takes about 15 ms
_OTHERS_POLL = 0.01  # seconds
_log = logging.getLogger("jtask")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A living embedded server and the way in.

    Attributes:
        url: Without the credential.
        user: The credential's first half.
        password: The credential's other half.
        port: On 127.0.0.1.
        pid: The server's process; None when the server could not write it down.
        server_id: Differs at each start.
        version: As the server says.
        home: The data folder.
        started: True when this call started it.
    """

    url: str
    user: str
    password: str = field(repr=False)
    port: int
    pid: int | None
    server_id: str
    version: str
    home: Path
    started: bool


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is known of a living embedded server; times in seconds, sizes in bytes."""

    url: str
    pid: int | None
    version: str
    uptime: float
    home: Path
    log: Path
    disk_used: int
    disk_free: int
    store_limit: int
    sync: Sync


def ensure_server(home: Path | None = None) -> Endpoint:
    """Find the server of a data folder, or start it.

    Args:
        home: The data folder; default: JTASK_HOME, or `jtask` in the user's data folder.

    Raises:
        BrokerUnavailable: It does not start, or does not answer within the connect timeout.
        BrokerTooOld: Its version lacks something.
        ConfigurationError: There is no nats-server, the folder will not do, or a setting is wrong.
    """
    settings = get_settings()
    own = settings_of(NatsSettings)
    files = ServerFiles(data_folder(home, settings))
    deadline = time.monotonic() + settings.connect_timeout
    with folder_errors(files.home):
        files.prepare()
        while True:
            with _taken(files.starting) as is_ours:
                if found := _find(files):
                    return _join(files, *found, own)
                if is_ours and not is_held(files.lock):
                    return _start(files, own, deadline)
            if time.monotonic() > deadline:
                raise _unresponsive(files)
            time.sleep(_OTHERS_POLL)


def stop_server(home: Path | None = None) -> bool:
    """Stop the server of a data folder and wait until it is gone.

    So is one whose folder was deleted, moved or unmounted since it was started.

    Returns:
        bool: False when there was none.

    Raises:
        BrokerUnavailable: It does not answer or does not stop, or was started again at once.
        PermissionDenied: It is somebody else's process.
    """
    files = ServerFiles(data_folder(home, get_settings()))
    deadline = time.monotonic() + _STOP_TIMEOUT
    signalled: int | None = None
    with folder_errors(files.home):
        found_orphans = _end_orphans(files, deadline)
        while not _is_down(files):
            if signalled is None:
                signalled = _terminate(files)
            elif files.read_pid() not in {signalled, None} and _find(files) is not None:
                raise _still_in_use(files)
            if time.monotonic() > deadline:
                raise _still_stopping(files) if signalled else _unresponsive(files)
            time.sleep(_OTHERS_POLL)
    return found_orphans or signalled is not None


def server_status(home: Path | None = None) -> ServerStatus | None:
    """Describe the living server of a data folder; None when there is none.

    Raises:
        BrokerUnavailable: It does not answer within the connect timeout.
    """
    settings = get_settings()
    files = ServerFiles(data_folder(home, settings))
    deadline = time.monotonic() + settings.connect_timeout
    with folder_errors(files.home):
        # It may be starting, or as busy as its machine.
        found = None
        while not _is_down(files) and (found := _find(files)) is None:
            if time.monotonic() > deadline:
                raise _unresponsive(files)
            time.sleep(_OTHERS_POLL)
        if found is None:
            return None
        record, info = found
        return ServerStatus(
            url=record.url,
            pid=files.read_pid(),
            version=info.version,
            uptime=max(0.0, time.time() - record.started_at),
            home=files.home,
            log=files.log,
            disk_used=files.disk_used(),
            disk_free=files.disk_free(),
            store_limit=record.store_limit,
            sync=record.sync,
        )


def _end_orphans(files: ServerFiles, deadline: float) -> bool:
    """End servers whose folder is gone: who is connected to one comes to the next then."""
    orphans = find_orphans(files.config, files.lock)
    if not orphans:
        return False
    pids = ", ".join(map(str, sorted(orphans)))
    _log.warning(
        "the data folder %s was deleted, moved or unmounted while its embedded server (pid %s) "
        "ran: that server is ended, and what was deleted is lost",
        files.home,
        pids,
    )
    end_orphans(orphans)
    while find_orphans(files.config, files.lock) & orphans:
        if time.monotonic() > deadline:
            raise BrokerUnavailable(
                f"the embedded server (pid {pids}) of the data folder {files.home}, which was "
                f"deleted or moved, does not end: end that process"
            )
        time.sleep(_OTHERS_POLL)
    return True


@contextmanager
def _taken(path: Path) -> Generator[bool]:
    lock = take_lock(path)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            release_lock(lock)


def _find(files: ServerFiles) -> tuple[ServerRecord, ServerInfo] | None:
    """Return the living server."""
    record = files.read_record() if is_held(files.lock) else None
    info = ask_info(record.port) if record else None
    if record is None or info is None or info.name != record.name:
        return None
    return record, info


def _join(
    files: ServerFiles, record: ServerRecord, info: ServerInfo, settings: NatsSettings
) -> Endpoint:
    check_version(info.version, record.url)
    wanted = (settings.server_sync, parse_size(settings.server_store_limit))
    if wanted != (record.sync, record.store_limit):
        _log.warning(
            "the embedded server at %s was started with server_sync=%s and a store limit of %d "
            "bytes: run `jtask server stop` so that it restarts with this process's settings",
            record.url,
            record.sync,
            record.store_limit,
        )
    return _endpoint(files, record, info, pid=files.read_pid(), started=False)


def _start(files: ServerFiles, settings: NatsSettings, deadline: float) -> Endpoint:
    program = find_server()
    check_version(ask_version(program), str(program))
    _end_orphans(files, deadline)
    store_limit = parse_size(settings.server_store_limit)
    previous = files.read_record()
    for port in _ports(previous):
        record = ServerRecord.for_next_start(port, settings.server_sync, store_limit, time.time())
        files.write_start(record)
        log_size = files.log_size()
        process = _spawn(program, files, deadline)
        if info := _await_ready(process, record, deadline):
            _reap_later(process)
            return _endpoint(files, record, info, pid=process.pid, started=True)
        if process.poll() is None:
            # It may be reading a large store: leave it to the next call to find.
            _reap_later(process)
            raise _unresponsive(files)
        problem = last_problem(files.log_since(log_size)) or _unsaid(files)
        if "address already in use" not in problem:
            raise BrokerUnavailable(
                f"the embedded server exited immediately with code "
                f"{process.returncode}: {problem} (log: {files.log})"
            )
    raise BrokerUnavailable(f"the embedded server found no free port in {_PORTS} on {HOST}")


def _unsaid(files: ServerFiles) -> str:
    # What has no room to write says nothing.
    return "its disk has no room left" if files.disk_free() < _ROOM else "no reason given"


def _ports(previous: ServerRecord | None) -> Iterator[int]:
    # The same port first: what people have written down stays true.
    known = [previous.port] if previous else []
    for port in (*known, *RANDOM.sample(_PORTS, _PORT_CHOICES)):
        if _is_free(port):
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server binds: connections of the previous one in TIME_WAIT are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _spawn(program: Path, files: ServerFiles, deadline: float) -> subprocess.Popen[bytes]:
    # Not before the record is the new server's: with the lock held, it is believed.
    lock = _wait_for_lock(files, deadline)
    log = files.open_log()
    try:
        return subprocess.Popen(
            [program, "-c", files.config],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Inherited, so the lock is held exactly as long as the server lives.
            pass_fds=(lock,),
            cwd=files.home,
            umask=0o077,
            # A Ctrl-C in the terminal of the process that started it is not meant for the server.
            start_new_session=True,
        )
    finally:
        os.close(log)
        release_lock(lock)


def _wait_for_lock(files: ServerFiles, deadline: float) -> int:
    # Who only looks whether it is held has it for a moment.
    while (lock := take_lock(files.lock)) is None:
        if time.monotonic() > deadline:
            raise _unresponsive(files)
        time.sleep(_READY_POLL)
    return lock


def _await_ready(
    process: subprocess.Popen[bytes], record: ServerRecord, deadline: float
) -> ServerInfo | None:
    while process.poll() is None and time.monotonic() < deadline:
        info = ask_info(record.port)
        # Another server may have taken the port in between.
        if info is not None and info.name == record.name:
            return info
        time.sleep(_READY_POLL)
    return None


def _reap_later(process: subprocess.Popen[bytes]) -> None:
    # Without a parent that waits, a server that ends before its starter stays a zombie.
    threading.Thread(target=process.wait, name="jtask-server-reaper", daemon=True).start()


def _endpoint(
    files: ServerFiles, record: ServerRecord, info: ServerInfo, *, pid: int | None, started: bool
) -> Endpoint:
    return Endpoint(
        url=record.url,
        user=record.user,
        password=record.password,
        port=record.port,
        pid=pid,
        server_id=info.server_id,
        version=info.version,
        home=files.home,
        started=started,
    )


def _is_down(files: ServerFiles) -> bool:
    """Tell whether no server lives or is started; nothing is created, not even the folder."""
    files.refuse_foreign()
    return not is_held(files.lock) and not is_held(files.starting)


def _terminate(files: ServerFiles) -> int | None:
    """Send SIGTERM to the living server and return its pid; None when it cannot be found yet."""
    if _find(files) is None:
        return None
    pid = files.read_pid()
    if pid is None:
        return None
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        # It ended in the meantime, which is what was wanted.
        pass
    except PermissionError:
        raise PermissionDenied(
            f"the embedded server of {files.home} (pid {pid}) belongs to another user"
        ) from None
    return pid


def _still_in_use(files: ServerFiles) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"the embedded server of {files.home} was stopped, and a program that uses it has started "
        f"it again (pid {files.read_pid()}): end its workers and callers first"
    )


def _still_stopping(files: ServerFiles) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"the embedded server of {files.home} (pid {files.read_pid() or 'unknown'}) was told to "
        f"stop, and has not ended after {_STOP_TIMEOUT:g} s: wait, or end that process; what is "
        f"stored stays (log: {files.log})"
    )


def _unresponsive(files: ServerFiles) -> BrokerUnavailable:
    pid = files.read_pid()
    return BrokerUnavailable(
        f"the embedded server of {files.home} (pid {pid or 'unknown'}) is "
        f"running but does not answer: try again if it is still loading a large store, "
        f"otherwise end that process (log: {files.log})"
    )
