"""mypy and pyright, both strict, make of the public API what api.py says."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import jtask

API = Path(__file__).with_name("api.py")
CORE = Path(jtask.__file__).parents[1]
SCRIPTS = Path(sysconfig.get_path("scripts"))


def check(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"MYPYPATH": str(CORE), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=55,
    )
    return done.stdout + done.stderr if done.returncode else ""


def run_mypy(folder: Path) -> str:
    flags = ["--strict", "--warn-unused-ignores", "--config-file=", "--cache-dir=cache"]
    return check(folder, sys.executable, "-m", "mypy", *flags, "api.py")


def run_pyright(folder: Path) -> str:
    config = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
        "include": ["api.py"],
        "extraPaths": [str(CORE)],
        # mypy's own ignores must not silence pyright.
        "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    return check(folder, str(SCRIPTS / "pyright"), "--pythonpath", sys.executable)


def test_mypy_finds_the_types_that_api_says(tmp_path: Path) -> None:
    shutil.copy(API, tmp_path)
    assert run_mypy(tmp_path) == ""


def test_pyright_finds_the_types_that_api_says(tmp_path: Path) -> None:
    shutil.copy(API, tmp_path)
    assert run_pyright(tmp_path) == ""


def test_both_notice_a_wrong_claim(tmp_path: Path) -> None:
    wrong = "from jtask import task\n@task\ndef f(x: int) -> int: return x\n"
    wrong += "f.delay(1)  # type: ignore[arg-type]\n"
    wrong += "f.delay(1)  # pyright: ignore[reportArgumentType]\n"
    wrong += "reveal_type(f.delay(1).result())\n"
    (tmp_path / "api.py").write_text(wrong)
    assert 'Unused "type: ignore" comment' in run_mypy(tmp_path)
    said = run_pyright(tmp_path)
    assert 'Unnecessary "# pyright: ignore" rule' in said
    assert 'Type of "f.delay(1).result()" is "int"' in said
