"""A call of a task's function in another process, of a cluster that pickles what it sends."""

import asyncio
import sys
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from jtask.execution.copies import copy_of, facts_of
from jtask.runtime import RunContext, executing
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
        return cls(target_of(run.task), list(sys.path), facts_of(run), args, kwargs)

    def execute(self) -> Any:
        """Call the function, in a process of the cluster; returns and raises what it does."""
        sys.path.extend(entry for entry in self.path if entry not in sys.path)
        (task,) = load_targets([self.target])
        run = copy_of(self.facts, task, self.args, self.kwargs)
        return copy_context().run(self._call, run)

    def _call(self, run: RunContext) -> Any:
        inherit(run.tags, run.task.tags)
        with executing(run):
            value = run.function(*self.args, **self.kwargs)
            return asyncio.run(value) if run.task.is_async else value
