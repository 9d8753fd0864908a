"""Where threads have been replaced by greenlets, jtask says so at once."""

import asyncio
import sys
import types

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
