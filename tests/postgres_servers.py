"""A PostgreSQL server of the machine's own package, for the tests that are marked `postgres`."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from free_ports import free_ports

# Debian keeps the programs of each version in a folder of its own.
FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
USER = "jtask"


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; None where there are none."""
    found = shutil.which("initdb")
    return Path(found).parent if found else next(iter(FOLDERS), None)


@contextmanager
def postgres() -> Iterator[str]:
    """Start a server in a folder of its own and yield a URL without a database."""
    folder = programs()
    assert folder is not None
    data = Path(tempfile.mkdtemp(prefix="jtask-postgres-"))
    # It refuses to be root, as a test in a container often is.
    user = "postgres" if os.geteuid() == 0 else None
    if user is not None:
        os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    (port,) = free_ports()
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {data} -c fsync=off"
    control = [folder / "pg_ctl", "-D", data / "db", "-w", "-l", data / "log"]
    made = [folder / "initdb", "-D", data / "db", "-U", USER, "-A", "trust", "-E", "UTF8"]
    try:
        subprocess.run(made, check=True, user=user, cwd=data, stdout=subprocess.DEVNULL)
        started = [*control, "-o", options, "start"]
        subprocess.run(started, check=True, user=user, cwd=data, stdout=subprocess.DEVNULL)
        yield f"postgresql://{USER}@127.0.0.1:{port}"
    finally:
        stopped = [*control, "-m", "immediate", "stop"]
        subprocess.run(stopped, check=False, user=user, cwd=data, stdout=subprocess.DEVNULL)
        shutil.rmtree(data, ignore_errors=True)
