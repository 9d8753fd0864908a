"""`jtask demo` works on real input, loses nothing, and leaves nothing behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from programs import environment

from jtask_demo.library import standard_library

DEMO = (sys.executable, "-m", "jtask.cli", "demo")
PATIENCE = 55.0  # seconds


def demo_environment(folder: Path, **variables: str) -> dict[str, str]:
    return environment(TMPDIR=str(folder), JTASK_CONNECT_TIMEOUT="30", **variables)


def left_behind(folder: Path) -> list[str]:
    """Return the files in a folder, and the processes that were started to use it."""
    needle = f"TMPDIR={folder}".encode()
    found = [str(path) for path in folder.iterdir()]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if needle in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # another user's, or gone
    return found


def test_a_killed_worker_costs_no_run(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*DEMO, "--json"],
        env=demo_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["runs"] == found["library"]["modules"] == len(standard_library())
    assert (found["lost"], found["failed"]) == (0, [])
    assert found["crash"]["executing"] >= 1
    assert found["crash"]["begun_twice"] >= found["crash"]["executing"]
    assert f"killed worker {found['crash']['pid']}" in ended.stderr
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_takes_everything_down(tmp_path: Path, number: int) -> None:
    demo = subprocess.Popen(DEMO, env=demo_environment(tmp_path), stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    with demo.stderr:
        assert "runs are stored" in demo.stderr.readline()
        demo.send_signal(number)
        rest = demo.stderr.read()
    assert demo.wait(PATIENCE) == 130, rest
    assert "Traceback" not in rest
    assert left_behind(tmp_path) == []


def test_a_broker_inside_one_process_is_refused_by_name(tmp_path: Path) -> None:
    ended = subprocess.run(
        DEMO,
        env=demo_environment(tmp_path, JTASK_URL="memory://"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 2
    assert "JTASK_URL" in ended.stderr
    assert left_behind(tmp_path) == []
