"""Run a program to its end."""

import os
import subprocess
from pathlib import Path

from waiting import PATIENCE


def environment(**variables: str) -> dict[str, str]:
    """Return the environment without jtask's settings, and with some variables."""
    return {k: v for k, v in os.environ.items() if not k.startswith("JTASK_")} | variables


def output_of(*command: str, folder: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Return what a program printed that ended well."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE + 10,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
