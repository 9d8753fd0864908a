"""Where threads have been replaced by greenlets, jtask says so at once."""

import asyncio
import subprocess
import sys
import types
from pathlib import Path

import pytest

from jtask import task
from jtask.errors import ConfigurationError
from jtask.execution.loop_thread import LoopThread
from jtask.real_threads import require_real_threads
from jtask.task_worker import aserve, serve
from jtask_timeouts.deadlines import Deadlines


@task
def add(a: int, b: int) -> int:
    return a + b


def replace_threads(monkeypatch: pytest.MonkeyPatch, module: str, *patched: str) -> None:
    """Answer as a library does that has patched some modules of Python's."""
    fake = types.ModuleType(module)
    name = "is_module_patched" if module == "gevent.monkey" else "is_monkey_patched"

    def answer(asked: str) -> bool:
        return asked in patched

    setattr(fake, name, answer)
    monkeypatch.setitem(sys.modules, module, fake)


LIBRARIES = [("gevent.monkey", "threading"), ("eventlet.patcher", "thread")]


@pytest.mark.parametrize(("module", "threads"), LIBRARIES)
def test_replaced_threads_are_refused_with_the_library_and_the_way_out(
    monkeypatch: pytest.MonkeyPatch, module: str, threads: str
) -> None:
    replace_threads(monkeypatch, module, threads, "socket")
    library = module.partition(".")[0]
    with pytest.raises(ConfigurationError, match=f"{library} has replaced .* `-k gthread`"):
        require_real_threads()


@pytest.mark.parametrize(("module", "threads"), LIBRARIES)
def test_a_library_that_left_the_threads_alone_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch, module: str, threads: str
) -> None:
    replace_threads(monkeypatch, module, "socket")
    require_real_threads()


def test_whatever_needs_a_thread_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_threads(monkeypatch, "gevent.monkey", "threading")
    refusal = pytest.raises(ConfigurationError, match="gevent has replaced")
    with refusal:
        LoopThread("unwanted")
    with refusal:
        Deadlines()
    with refusal:
        serve(add)
    with refusal:
        asyncio.run(aserve(add))


FAKE = """
def patch_all():
    global is_module_patched
    is_module_patched = lambda name: True
"""
PATCHED = """
from gevent import monkey
monkey.patch_all()
from jtask import task

@task
def add(a: int, b: int) -> int:
    return a + b
"""


@pytest.fixture
def patched(tmp_path: Path) -> Path:
    (tmp_path / "gevent").mkdir()
    (tmp_path / "gevent" / "__init__.py").touch()
    (tmp_path / "gevent" / "monkey.py").write_text(FAKE)
    (tmp_path / "patched.py").write_text(PATCHED)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["-m", "jtask.cli", "serve", "patched.py"], 2),
        (["-m", "jtask.cli", "serve", "-p", "2", "patched.py"], 2),
        (["-c", "import patched; assert patched.add(1, 2) == 3; patched.add.delay(1, 2)"], 1),
    ],
    ids=["serve", "processes", "delay"],
)
def test_a_patched_program_ends_with_the_reason(
    patched: Path, arguments: list[str], code: int
) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=patched,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "gevent has replaced the threads of this process" in done.stderr
    assert done.returncode == code
