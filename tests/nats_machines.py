"""State machines of hypothesis on a real server, with workers that are killed."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from stage import Stage, Workers

from jtask.client import close_client
from jtask.settings import get_settings


class StagedMachine(RuleBasedStateMachine):
    """Two workers that may be killed, and the server that may be killed.

    Args:
        server: The server.
        folder: Where the stage may be.
        module: What the workers serve; its attempts end when the machine says so.
    """

    def __init__(self, server: Any, folder: Path, module: str) -> None:
        super().__init__()
        self.server = server
        self.place = tempfile.TemporaryDirectory(dir=folder)
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("JTASK_NAMESPACE", Path(self.place.name).name)
        close_client()
        get_settings.cache_clear()
        self.stage = Stage(Path(self.place.name))
        self.lost: set[str] = set()
        """Runs that have lost a worker, or may have."""
        self.workers = Workers(module, self.stage)

    @rule(whom=st.sampled_from([0, 1, "server"]))
    def somebody_is_killed(self, whom: int | str) -> None:
        if whom == "server":
            self.server.kill()
            self.server.start()
            return
        acting = {run_id for _, run_id in self.stage.acting()}
        # Who loses a second worker is a suspect, and suspects wait for each other.
        if not acting & self.lost:
            self.lost |= acting
            self.workers.kill(int(whom))

    def check_ends(self) -> None:
        """Check what has become of all runs, which may end now."""
        raise NotImplementedError

    def teardown(self) -> None:
        """End all attempts, and what belongs to the machine."""
        try:
            self.stage.release()
            self.check_ends()
            assert self.stage.problems() == []
        finally:
            self.workers.close()
            close_client()
            self.patch.undo()
            get_settings.cache_clear()
            self.place.cleanup()


def run_on_server(
    machine: Callable[[], RuleBasedStateMachine],
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    *,
    examples: int,
    steps: int,
) -> None:
    """Run some examples of a machine, the same ones each time.

    Args:
        machine: Makes it.
        server: Where its processes connect to.
        monkeypatch: For the environment of these.
        examples: How many.
        steps: How many rules each follows at most.
    """
    for name in [name for name in os.environ if name.startswith("JTASK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("JTASK_URL", server.url)
    monkeypatch.setenv("JTASK_LEASE", "1")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    # One that is killed again and again is not to end as Crashed here.
    monkeypatch.setenv("JTASK_MAX_CRASHES", "50")
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
