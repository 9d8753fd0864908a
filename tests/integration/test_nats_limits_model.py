"""Limits hold on a real server, whoever is killed whenever: the rules of the model, with processes.

No limit is exceeded, as the attempts themselves see it, and no run waits while there is room for
it. Workers get SIGKILL, and so does the server; limits are made, changed and removed meanwhile.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import staged_limits
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    rule,
)
from nats_machines import StagedMachine, run_on_server
from stage import is_over
from staged_limits import OWN_LIMIT, TAG, LimitHistory
from waiting import PATIENCE, eventually

from jtask import Run
from jtask.client import get_client
from jtask_limits.definitions import Limit
from jtask_limits.operations import create_limit, holders_of, remove_limit, update_limit

OWN, TAGGED = ("own", "both", "retried"), ("tagged", "both")
KINDS = st.lists(
    st.sampled_from(["own", "both", "retried", "tagged", "tagged"]), min_size=2, max_size=6
)
NAME = f"tag:{TAG}"


class NatsLimitMachine(StagedMachine):
    """Two workers that may be killed, and the server that may be killed."""

    def __init__(self, server: Any, folder: Path) -> None:
        super().__init__(server, folder, "staged_limits")
        self.history = LimitHistory(self.stage.folder / "limits")
        self.runs: dict[str, tuple[str, Run[Any]]] = {}
        self.limit = math.inf

    @initialize(slots=st.sampled_from([1, 2, 3]), kinds=KINDS)
    def a_limit_is_there_before_all(self, slots: int, kinds: list[str]) -> None:
        self.change_limit(slots)
        self.enqueue(kinds)

    # One rule, so that no example is without it.
    @rule(kinds=KINDS, ends=st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=4))
    def attempts_end_and_runs_come(self, kinds: list[str], ends: list[tuple[int, bool]]) -> None:
        for number, succeeds in ends:
            if acting := sorted(self.stage.acting()):
                _, run_id = acting[number % len(acting)]
                self.end(run_id, succeeds=succeeds)
        self.enqueue(kinds)

    def end(self, run_id: str, *, succeeds: bool) -> None:
        self.stage.end(run_id, succeeds=succeeds)
        kind, run = self.runs[run_id]
        if succeeds or kind != "retried":
            assert run.wait(PATIENCE)

    def enqueue(self, kinds: list[str]) -> None:
        for kind in kinds:
            run = getattr(staged_limits, kind).delay()
            self.runs[run.run_id] = (kind, run)

    @rule(slots=st.sampled_from([1, 2, 4, math.inf]))
    def a_limit_is_made_changed_or_removed(self, slots: float) -> None:
        self.change_limit(slots)

    def change_limit(self, slots: float) -> None:
        self.history.change(slots)
        if slots == math.inf:
            assert remove_limit(NAME) is (self.limit < math.inf)
        elif not create_limit(Limit(NAME, int(slots))):
            update_limit(Limit(NAME, int(slots)))
        self.history.is_changed()
        self.limit = slots

    @invariant()
    def a_run_waits_only_while_its_limits_are_reached(self) -> None:
        eventually(lambda: self.waiting_for_nothing() == [] or self.stage.problems())
        assert self.stage.problems() == []

    def waiting_for_nothing(self) -> list[str]:
        acting = self.stage.acting()
        executing = {run_id for _, run_id in acting}
        kinds = [label.split("-")[0] for label, _ in acting]
        full = {kind for kind in OWN if kinds.count(kind) >= OWN_LIMIT}
        if sum(kind in TAGGED for kind in kinds) >= self.limit:
            full.update(TAGGED)
        return [
            run_id
            for run_id, (kind, run) in self.runs.items()
            if run_id not in executing and kind not in full and not is_over(run)
        ]

    def check_ends(self) -> None:
        for kind, run in self.runs.values():
            assert run.wait(PATIENCE)
            assert run.state.name.value in ("Completed", "Failed"), (kind, run.state)
        eventually(lambda: self.held() == [])

    def held(self) -> list[Any]:
        client, keys = get_client(), [getattr(staged_limits, kind).key for kind in OWN]
        of_tasks = [client.io.run(client.broker.slots.holders(f"limit-task-{key}")) for key in keys]
        return sum(of_tasks, list(holders_of(NAME)))


@pytest.mark.timeout(300)
def test_limits_hold_whoever_is_killed(
    nats_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on_server(
        lambda: NatsLimitMachine(nats_server, tmp_path),
        nats_server,
        monkeypatch,
        examples=5,
        steps=15,
    )
