"""A file of the program that has the name of a library is named, whatever it would have broken."""

import subprocess
import sys
from pathlib import Path

import pytest
from programs import environment
from waiting import PATIENCE

CALLER = """
from jtask import task

@task
def add(a: int, b: int) -> int:
    return a + b

add.delay(1, 2)
"""


@pytest.mark.parametrize("program", ["nats.py", "caller.py"])
def test_a_program_that_hides_the_client_of_nats_is_told_which_file_to_rename(
    program: str, tmp_path: Path
) -> None:
    hiding = tmp_path / "nats.py"
    hiding.write_text("")
    (tmp_path / program).write_text(CALLER)
    done = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env=environment(JTASK_HOME=str(tmp_path / "home")),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"jtask.errors.ConfigurationError: {str(hiding)!r} has the name of the library 'nats', "
        "which jtask imports: rename it"
    )
