"""Run a program to its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE

starts_threads_at_its_end = pytest.mark.skipif(
    (3, 12, 0) <= sys.version_info < (3, 12, 3),
    reason="a program that ends starts no thread any more there (CPython's gh-113964)",
)


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
