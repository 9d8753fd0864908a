"""A broker that ends with its process says so, and runs for other processes never go there."""

import importlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from installing import write_package

from jtask import task
from jtask.cli.program import main
from jtask.client.opening import find_unshared
from jtask.errors import ConfigurationError
from jtask.settings import get_settings
from jtask.worker.exit_codes import ExitCode

BROKERS = """
from jtask.contract import in_process

@in_process
async def open_attic(url, client, loop): ...

async def open_roof(url, client, loop): ...
"""


@pytest.fixture(autouse=True)
def _brokers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with two brokers."""
    monkeypatch.syspath_prepend(tmp_path)
    points = "[jtask.brokers]\nattic = {module}:open_attic\nroof = {module}:open_roof\n"
    write_package(tmp_path, "pigeons", BROKERS, points)


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("attic://", "attic"),
        ("attic://me:secret@x", "attic"),
        ("memory://", "memory"),
        ("memory://name", "memory"),
        ("roof://", None),
        ("embedded://", None),
        ("nats://localhost", None),
        ("tls://localhost", None),
    ],
)
def test_a_factory_says_whether_other_processes_reach_its_brokers(
    url: str, scheme: str | None
) -> None:
    assert find_unshared(url) == scheme


def test_a_scheme_that_nobody_has_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no broker has the scheme 'cellar'"):
        find_unshared("cellar://")


@pytest.fixture
def attic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("JTASK_URL", "attic://x")
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


@task(isolation="process")
def delay_in_a_child() -> str:
    return never.delay().run_id


@task
def never() -> None: ...


def test_a_child_process_has_no_broker_of_its_own_in_the_place_of_the_parents(
    jtask_memory: str,
) -> None:
    with pytest.raises(ConfigurationError, match=r"a broker inside another process.*jtask_nats"):
        delay_in_a_child()


def test_enqueue_refuses_any_broker_that_ends_with_the_program(attic: None) -> None:
    done = CliRunner().invoke(main, ["enqueue", "resize"])
    assert (done.exit_code, done.stdout) == (ExitCode.USAGE, "")
    assert done.stderr == (
        "Error: a run in attic:// would end with this program: "
        "unset JTASK_URL, or set it to a server\n"
    )


def test_a_worker_on_any_such_broker_says_that_nobody_can_reach_it(
    attic: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tasks.py").write_text("from jtask import task\n@task\ndef f() -> None: ...\n")
    serve_module = importlib.import_module("jtask.cli.serve")
    monkeypatch.setattr(serve_module, "serve_tasks", lambda *_, **__: None)
    monkeypatch.setattr(serve_module, "log_to_stderr", lambda _: None)
    with caplog.at_level(logging.WARNING, "jtask.worker"):
        done = CliRunner().invoke(main, ["serve", str(tmp_path / "tasks.py")])
    assert done.exit_code == 0
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith(
        "attic:// exists only in this process: no other program can give this worker"
    )
