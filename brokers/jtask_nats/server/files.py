"""The data folder of the embedded server: what lies where, readable by its owner only."""

import errno
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jtask.errors import BrokerUnavailable, ConfigurationError
from jtask_nats.server.config import ServerRecord, render_config
from jtask_nats.server.ownership import refuse_foreign, refuse_foreign_links

if TYPE_CHECKING:
    from jtask.settings import Settings

_PRIVATE_FOLDER = 0o700
_PRIVATE_FILE = 0o600
_LOG_TAIL = 65_536  # bytes
_WRONG_FOLDER = {
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EROFS,
    errno.ENAMETOOLONG,
}


def data_folder(home: Path | None, settings: "Settings") -> Path:
    """Return the embedded server's folder: the given one, JTASK_HOME, or the user's default.

    Raises:
        ConfigurationError: The user has no home folder.
    """
    try:
        return (home or settings.home or _default_folder()).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigurationError(f"{error}: set JTASK_HOME to a folder for jtask's data") from None


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """The files of one data folder."""

    home: Path

    @property
    def lock(self) -> Path:
        """Held by the living server."""
        return self.home / "lock"

    @property
    def starting(self) -> Path:
        """Held by who starts the server, until it answers."""
        return self.home / "starting"

    @property
    def log(self) -> Path:
        """What the server logs."""
        return self.home / "server.log"

    @property
    def config(self) -> Path:
        """The server's configuration file."""
        return self.home / "server.conf"

    @property
    def _record(self) -> Path:
        return self.home / "endpoint.json"

    @property
    def _pid(self) -> Path:
        return self.home / "server.pid"

    @property
    def _store(self) -> Path:
        return self.home / "store"

    def prepare(self) -> None:
        """Make the folder, and keep others out of it.

        Raises:
            ConfigurationError: It, or what is in it, is somebody else's.
        """
        self.refuse_foreign()
        self.home.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        if self.home.stat().st_mode & 0o777 != _PRIVATE_FOLDER:
            self.home.chmod(_PRIVATE_FOLDER)
        # Again: somebody may have been there in between, and nobody can from now on.
        self.refuse_foreign()

    def refuse_foreign(self) -> None:
        """Refuse a folder, or a file in it, that somebody else may have put there.

        Raises:
            ConfigurationError: It, or what is in it, is a link or belongs to somebody else.
        """
        refuse_foreign_links(self.home)
        for path in (
            self.home,
            self.lock,
            self.starting,
            self.log,
            self.config,
            self._record,
            self._pid,
            self._store,
        ):
            refuse_foreign(path)

    def read_record(self) -> ServerRecord | None:
        """Return what is remembered of the server, or None."""
        try:
            return ServerRecord.from_json(self._record.read_text())
        except FileNotFoundError:
            return None

    def read_pid(self) -> int | None:
        """Return the pid that the living server wrote, or None."""
        try:
            return int(self._pid.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def write_start(self, record: ServerRecord) -> None:
        """Write the next server's configuration and record; only by who holds `starting`."""
        # A stale pid may be another process's by now, and `stop` would end that one.
        self._pid.unlink(missing_ok=True)
        config = render_config(record, store=self._store, log=self.log, pid_file=self._pid)
        _write_private(self.config, config)
        _write_private(self._record, record.to_json())

    def open_log(self) -> int:
        """Open the log for what the server writes before it opens it itself."""
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _PRIVATE_FILE)

    def log_size(self) -> int:
        """Return the log's size in bytes."""
        try:
            return self.log.stat().st_size
        except FileNotFoundError:
            return 0

    def log_since(self, size: int) -> str:
        """Return what was logged since the log had that size, at most its last 64 KiB."""
        with self.log.open("rb") as log:
            log.seek(max(size, self.log_size() - _LOG_TAIL))
            return log.read().decode(errors="replace")

    def disk_used(self) -> int:
        """Return how many bytes the store takes on disk."""
        return sum(_bytes_on_disk(self._store))

    def disk_free(self) -> int:
        """Return how many bytes are left on the disk of the data folder."""
        room = os.statvfs(self.home)
        return room.f_bavail * room.f_frsize


@contextmanager
def folder_errors(home: Path) -> Generator[None, None, None]:
    """Turn what goes wrong with a data folder into one sentence.

    Raises:
        ConfigurationError: The folder will not do.
        BrokerUnavailable: Anything else, such as a full disk.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokerUnavailable):
            raise
        reason = error.strerror or str(error)
        if error.errno in _WRONG_FOLDER:
            raise ConfigurationError(
                f"the embedded server cannot use its data folder {home} ({reason}): "
                f"set JTASK_HOME to a writable folder"
            ) from error
        raise BrokerUnavailable(
            f"the embedded server cannot use its data folder {home} ({reason}): "
            f"fix this, or set JTASK_HOME to another folder"
        ) from error


def _default_folder() -> Path:
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "jtask"


def _write_private(path: Path, text: str) -> None:
    # Readers must never see half a file, and nobody else the password: created private, then
    # renamed.
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE), "w") as file:
        file.write(text)
    new.replace(path)


def _bytes_on_disk(folder: Path) -> Iterator[int]:
    for parent, _, names in os.walk(folder):
        for name in names:
            # The server deletes files while they are counted.
            with suppress(FileNotFoundError):
                yield os.stat(os.path.join(parent, name)).st_blocks * 512
