"""Fixtures for tests of tasks; docs/testing.md shows each.

pytest loads this in every project of an environment that has jtask: it imports nothing of weight
until a fixture is used.
"""

import os
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from jtask.testing.workers import RunningWorker, start_worker

if TYPE_CHECKING:
    from jtask.tasks import Task

_PATIENCE_SECONDS = "30"  # a test machine may be busy


@pytest.fixture
def jtask_memory() -> Generator[str]:
    """An empty broker inside this process, as this test's JTASK_URL; gives the URL."""
    with _environment(JTASK_URL=f"memory://{secrets.token_hex(8)}"):
        yield os.environ["JTASK_URL"]


@pytest.fixture
def jtask_nats(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """An empty nats-server as this test's JTASK_URL, stopped at the end; gives the URL.

    It is the real embedded server in a folder of its own, started by the first use. Child
    processes share it.
    """
    home = tmp_path_factory.mktemp("jtask")
    patience = os.environ.get("JTASK_CONNECT_TIMEOUT", _PATIENCE_SECONDS)
    with _environment(
        JTASK_URL="embedded://", JTASK_HOME=str(home), JTASK_CONNECT_TIMEOUT=patience
    ):
        yield "embedded://"
        _stop_server()


@pytest.fixture
def jtask_broker(request: pytest.FixtureRequest) -> str:
    """The broker of `jtask_worker`; gives its URL.

    It is `jtask_nats` in a test that names that fixture, else `jtask_memory`. Define a fixture of
    this name in a conftest.py to choose for many tests.
    """
    name = "jtask_nats" if "jtask_nats" in request.fixturenames else "jtask_memory"
    return str(request.getfixturevalue(name))


@pytest.fixture
def jtask_worker(jtask_broker: str) -> Generator[Callable[..., RunningWorker]]:
    """Start workers in this process: `jtask_worker(a_task, concurrency=2)`; stopped at the end."""
    del jtask_broker  # wanted for its environment only
    workers: list[RunningWorker] = []

    def start(*tasks: "Task[..., Any]", **options: Any) -> RunningWorker:
        worker = start_worker(*tasks, **options)
        workers.append(worker)
        return worker

    yield start
    for worker in reversed(workers):
        worker.stop()


@pytest.fixture
def jtask_plugin() -> Generator[Callable[[object], None]]:
    """Load plugins for this test: `jtask_plugin(a_module_or_object)`."""
    from jtask.plugins import get_plugins

    plugins = get_plugins()
    added: list[object] = []

    def add(plugin: object) -> None:
        plugins.add(plugin)
        added.append(plugin)
        _forget_settings()

    yield add
    for plugin in reversed(added):
        plugins.remove(plugin)
    _forget_settings()


@contextmanager
def _environment(**variables: str) -> Generator[None]:
    """Set variables, and have jtask start anew before and after."""
    from jtask.client.process_client import close_client

    with pytest.MonkeyPatch.context() as patch:
        # The outcomes of a test stay with its broker, whatever the project's settings say.
        patch.setenv("JTASK_RESULTS_URL", variables["JTASK_URL"])
        for name, value in variables.items():
            patch.setenv(name, value)
        close_client()
        _forget_settings()
        try:
            yield
        finally:
            close_client()
    _forget_settings()


def _forget_settings() -> None:
    from jtask.declaration.registry import known_tasks
    from jtask.settings import get_settings

    get_settings.cache_clear()
    for task in known_tasks():
        task.forget_settings()


def _stop_server() -> None:
    from jtask.cli.installed_commands import InstalledCommands
    from jtask.client.process_client import close_client

    close_client()  # which would start the server anew
    # Through the command that its package adds to the program: core imports no broker.
    server = InstalledCommands().load("server")
    server.main(["stop", "--json"], standalone_mode=False)
