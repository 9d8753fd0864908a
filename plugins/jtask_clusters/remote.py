"""A call of a task's function in another process, of a cluster that pickles what it sends."""

import asyncio
import sys
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from jtask.runtime import RunContext, executing
from jtask.runtime.flow_runs import flow_headers
from jtask.states import State, StateName
from jtask.tagging import inherit
from jtask.worker.targets import load_targets, target_of


@dataclass(frozen=True)
class RemoteCall:
    """What a process of the cluster is to call.

    Attributes:
        target: Names the task for `jtask.worker.targets`; the code must be there too.
        path: The import path of the process that sends it.
        facts: What `jtask.runtime` says there.
        args: Positional arguments.
        kwargs: Keyword arguments.
    """

    target: str
    path: list[str]
    facts: dict[str, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, run: RunContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "RemoteCall":
        """Return the call of a run's function."""
        facts = {
            "run_id": run.run_id,
            "created_at": run.created_at,
            "attempt": run.attempt,
            "tags": run.tags,
            "parent_id": run.parent_id,
            "root_id": run.root_id,
            "worker": run.worker,
            # A copy has no callers, which say what flow the run is part of.
            "headers": {**flow_headers(run), **run.headers},
            "started_at": run.started_at,
            "attempt_started_at": run.attempt_started_at,
            "run_time": run.run_time,
        }
        return cls(target_of(run.task), list(sys.path), facts, args, kwargs)

    def execute(self) -> Any:
        """Call the function, in a process of the cluster; returns and raises what it does."""
        sys.path.extend(entry for entry in self.path if entry not in sys.path)
        (task,) = load_targets([self.target])
        run = RunContext(task=task, blocking=not task.is_async, is_copy=True, **self.facts)
        run.state = State(StateName.RUNNING, run.attempt_started_at or run.created_at)
        return copy_context().run(self._call, run)

    def _call(self, run: RunContext) -> Any:
        inherit(run.tags, run.task.tags)
        with executing(run):
            value = run.task.fn(*self.args, **self.kwargs)
            return asyncio.run(value) if run.task.is_async else value
