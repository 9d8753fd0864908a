"""State machines of hypothesis on a real server, with workers that are killed."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


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
