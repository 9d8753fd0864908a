"""The embedded server's configuration and log, as values and strings. No I/O."""

import json
import re
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from jtask.errors import ConfigurationError

if TYPE_CHECKING:
    # Not otherwise: a lease guard needs the record, and none of what settings import.
    from jtask_nats.settings import Sync

HOST = "127.0.0.1"
LOGIN_TIMEOUT = 20  # seconds; with the server's own 2, a client that is busy may never get in
MAX_PAYLOAD = 8 * 1024**2  # bytes; nats-server warns above that
LOG_SIZE_LIMIT = 10 * 1024**2
LOG_FILES = 3
_USER = "jtask"
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)
_LOG_PREFIX = re.compile(r"\[\d+\] \S+ \S+ \[(\w{3})\] ")
_LOG_FAILURES = ("FTL", "ERR")


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """What a data folder remembers of its server; written before the server starts.

    Attributes:
        name: The server's name, new at each start: a server that gives this name is this one.
        port: Where it listens on 127.0.0.1.
        password: New at each start: one that got out is worth nothing after it.
        sync: See `NatsSettings.server_sync`.
        store_limit: What it may put on disk, in bytes.
        started_at: Seconds since the epoch.
    """

    name: str
    port: int
    password: str = field(repr=False)
    sync: "Sync"
    store_limit: int
    started_at: float
    user: str = _USER

    @classmethod
    def for_next_start(cls, port: int, sync: "Sync", store_limit: int, now: float) -> Self:
        """Make the record of the next start, with a name and a password of its own."""
        return cls(
            name=f"jtask-{secrets.token_hex(8)}",
            port=port,
            password=secrets.token_hex(32),
            sync=sync,
            store_limit=store_limit,
            started_at=now,
        )

    @classmethod
    def from_json(cls, text: str) -> Self | None:
        """Read a record; None when the text is none. Unknown fields are left out."""
        try:
            data = json.loads(text)
        except ValueError:
            return None
        if not isinstance(data, dict):
            return None
        values = cast("dict[str, Any]", data)
        try:
            return cls(**{f.name: values[f.name] for f in fields(cls)})
        except KeyError:
            return None

    def to_json(self) -> str:
        """Return the record as JSON, with the server's URL for human readers."""
        return json.dumps({"url": self.url, **asdict(self)}, indent=1)

    @property
    def url(self) -> str:
        """Where the server is, without the credential."""
        return f"nats://{HOST}:{self.port}"


def render_config(record: ServerRecord, store: Path, log: Path, pid_file: Path) -> str:
    """Return the text of the server's configuration file; it holds the password."""
    # 2m is the server's default: what an OS crash can cost, not the crash of a process.
    sync = "always" if record.sync == "always" else '"2m"'
    # max_file_store is the safe limit: when it is reached the server refuses messages (10023); the
    # max_bytes of a stream would drop the oldest ones.
    return f"""\
server_name: {_quoted(record.name)}
listen: "{HOST}:{record.port}"
authorization {{
  user: {_quoted(record.user)}, password: {_quoted(record.password)}, timeout: {LOGIN_TIMEOUT}
}}
max_payload: {MAX_PAYLOAD}
pid_file: {_quoted(str(pid_file))}
log_file: {_quoted(str(log))}
logfile_size_limit: {LOG_SIZE_LIMIT}
logfile_max_num: {LOG_FILES}
jetstream {{
  store_dir: {_quoted(str(store))}
  max_file_store: {record.store_limit}
  sync_interval: {sync}
}}
"""


def parse_size(text: str) -> int:
    """Return a size in bytes: `10GB` is 10 * 1000**3, `10GiB` is 10 * 1024**3.

    Raises:
        ConfigurationError: Not a size, or nothing at all.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise ConfigurationError(
            f"JTASK_SERVER_STORE_LIMIT={text!r} is not a size; write it like 500MB, 10GB or 64GiB"
        )
    base = 1024 if match[3] else 1000
    size = int(float(match[1]) * base ** _POWERS[match[2].upper()])
    if size == 0:
        raise ConfigurationError(
            f"JTASK_SERVER_STORE_LIMIT={text!r} leaves no space for the embedded server"
        )
    return size


def last_problem(log: str) -> str:
    """Return the line of a log that tells best why the server ended, without its prefix.

    That is the last fatal one, else the last error, else the last line; empty for an empty log.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    for level in _LOG_FAILURES:
        for line in reversed(lines):
            match = _LOG_PREFIX.match(line)
            if match and match[1] == level:
                return line[match.end() :].strip()
    return _LOG_PREFIX.sub("", lines[-1]).strip() if lines else ""


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
