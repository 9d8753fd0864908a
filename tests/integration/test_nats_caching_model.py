"""Values are computed once on a real server, whoever is killed: the rules of the model there.

Under a lock one run computes the value of a key, as the attempts themselves see it; a run waits
only for one that does, and gets its value. Workers get SIGKILL, and so does the server.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    rule,
)
from nats_machines import StagedMachine, run_on_server
from stage import is_over
from staged_caching import COMMITTED, LOCKED, REFRESHING, SERIALIZABLE, TASKS
from waiting import PATIENCE, eventually

from jtask import Run
from jtask_caching.operations import forget, list_entries

CALLS = st.lists(
    st.tuples(
        st.sampled_from([SERIALIZABLE, SERIALIZABLE, COMMITTED, REFRESHING]), st.integers(0, 1)
    ),
    min_size=2,
    max_size=6,
)


@dataclass
class ModelRun:
    """A run, the value that was kept for it when it came, and whether its end was looked at."""

    kind: str
    key: int
    run: Run[str]
    value: str | None
    is_over: bool = False


class NatsCachingMachine(StagedMachine):
    """Two workers that may be killed, the server that may be killed, and what is kept."""

    def __init__(self, server: Any, folder: Path) -> None:
        super().__init__(server, folder, "staged_caching")
        self.runs: dict[str, ModelRun] = {}
        self.kept: dict[int, str] = {}
        self.ever_kept: dict[int, set[str]] = {0: set(), 1: set()}

    @initialize(calls=CALLS)
    def runs_come(self, calls: list[tuple[str, int]]) -> None:
        for kind, key in calls:
            run: Run[str] = TASKS[kind].delay(key, kind)
            value = self.kept.get(key) if kind != REFRESHING else None
            self.runs[run.run_id] = ModelRun(kind, key, run, value)

    # One rule, so that no example is without it.
    @rule(calls=CALLS, ends=st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=3))
    def attempts_end_and_runs_come(
        self, calls: list[tuple[str, int]], ends: list[tuple[int, bool]]
    ) -> None:
        for number, succeeds in ends:
            if acting := sorted(self.stage.acting()):
                _, run_id = acting[number % len(acting)]
                self.end(self.runs[run_id], succeeds=succeeds)
                self.a_run_waits_only_for_one_that_computes_its_value()
        self.runs_come(calls)

    def end(self, one: ModelRun, *, succeeds: bool) -> None:
        if succeeds:
            self.kept[one.key] = one.run.run_id
            self.ever_kept[one.key].add(one.run.run_id)
        self.stage.end(one.run.run_id, succeeds=succeeds)
        assert one.run.wait(PATIENCE)
        assert one.run.state.name.value == ("Completed" if succeeds else "Failed")
        one.is_over = True

    @rule(key=st.integers(0, 1))
    def a_value_is_forgotten(self, key: int) -> None:
        kept = self.kept.pop(key, None)
        found = [entry.key for entry in list_entries() if entry.run_id == kept]
        assert forget(found) == found

    @invariant()
    def a_run_waits_only_for_one_that_computes_its_value(self) -> None:
        eventually(lambda: self.waiting_for_nothing() == [] or self.stage.problems())
        assert self.stage.problems() == []
        for one in self.runs.values():
            if not one.is_over and is_over(one.run):
                # Nobody but this test ends what computes, so it was a hit.
                assert (one.run.state.name.value, one.kind != REFRESHING) == ("Cached", True)
                value = one.run.result(PATIENCE)
                # Who has waited may have read it before it was forgotten.
                assert value in self.ever_kept[one.key] if one.value is None else value == one.value
                one.is_over = True

    def waiting_for_nothing(self) -> list[str]:
        acting = self.stage.acting()
        executing = {run_id for _, run_id in acting}
        locked = {label for label, _ in acting if label.split("-")[0] in LOCKED}
        keys = {int(label.split("-")[1]) for label in locked}
        return [
            run_id
            for run_id, one in self.runs.items()
            if run_id not in executing
            and not (one.kind in LOCKED and one.key in keys and one.value is None)
            and not is_over(one.run)
        ]

    @invariant()
    def what_is_listed_is_what_is_kept(self) -> None:
        kept = sorted(self.kept.values())
        eventually(lambda: sorted(entry.run_id for entry in list_entries()) == kept)

    def check_ends(self) -> None:
        for one in self.runs.values():
            assert one.run.wait(PATIENCE)
            assert one.run.state.name.value in ("Completed", "Cached", "Failed"), one


@pytest.mark.timeout(300)
def test_values_are_computed_once_whoever_is_killed(
    nats_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_on_server(
        lambda: NatsCachingMachine(nats_server, tmp_path),
        nats_server,
        monkeypatch,
        examples=4,
        steps=12,
    )
