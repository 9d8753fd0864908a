"""What every test relies on, however the suite is started."""

import compileall
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test fails on the clock: an example may take as long as a busy machine needs.
settings.register_profile(
    "jtask", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("jtask")

# A shell's background jobs ignore SIGINT, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A server that whoever runs the tests has started for himself is to take no part in them.
_data = tempfile.TemporaryDirectory(prefix="jtask-data-")
os.environ["XDG_DATA_HOME"] = _data.name


# Else each process of each run would explain the assertions of all test files anew.
sys.dont_write_bytecode = False

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("core", "brokers", "plugins")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # one of several processes of a run
    # Once for all: the programs that tests start write no bytecode, and where nobody else has, each
    # of them would compile all that it imports, which is a third of its start.
    for package in _PACKAGES:
        compileall.compile_dir(_ROOT / package, quiet=2)


def pytest_unconfigure() -> None:
    _data.cleanup()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    # What is collected stays to the end, some 300,000 objects: the garbage collector would look at
    # all of them while they come, and again in each test that has garbage collected.
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest first: one that comes last keeps one process busy while the others are done.
    items.sort(key=lambda item: not _is_long(item.path))


def _is_long(path: Path) -> bool:
    return "chaos" in path.parts or path.name.endswith("_model.py")
