"""The run that is being executed here: `runtime.run_id`, `runtime.attempt`, `runtime.tags`, ...

Each name of `RunContext` can be read from this module inside a run; outside it is None.
`runtime.task_run` and `runtime.flow_run` have the same under Prefect's names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jtask.declaration.task_info import TaskInfo
    from jtask.outcomes import AttemptRecord
    from jtask.runtime.current import (
        call_headers,
        current_run,
        executing,
        reset_current,
        set_current,
    )
    from jtask.runtime.enqueue_request import EnqueueRequest, WhenSent
    from jtask.runtime.prefect_names import flow_run, task_run
    from jtask.runtime.progress_reports import progress
    from jtask.runtime.run_context import RunContext
    from jtask.runtime.workers import HeldRun, WorkerHandle, WorkerInfo
    from jtask.states import State

__all__ = [
    "EnqueueRequest",
    "HeldRun",
    "RunContext",
    "WhenSent",
    "WorkerHandle",
    "WorkerInfo",
    "call_headers",
    "current_run",
    "executing",
    "flow_run",
    "progress",
    "reset_current",
    "set_current",
    "task_run",
]

# For type checkers and editors: no value is ever assigned, so that `__getattr__` below answers.
# The types are those inside a run, where such code belongs; outside all of them are None.
run_id: str
task: TaskInfo[..., Any]
task_name: str
name: str
created_at: float
attempt: int
tags: tuple[str, ...]
parent_id: str | None
root_id: str | None
queue: str | None
worker: str
headers: Mapping[str, str]
scheduled_for: float | None
started_at: float | None
attempt_started_at: float | None
version: str | None
run_time: float
history: tuple[AttemptRecord, ...]
args: tuple[Any, ...]
kwargs: dict[str, Any]
parameters: dict[str, Any]
state: State | None
error: BaseException | None
lost_workers: int
cancelled: str | None

_OTHERS = frozenset({"RunContext", "WorkerInfo", "current_run", "flow_run", "progress", "task_run"})
_WORKED_OUT = frozenset({"name", "parameters", "task_name"})
_handed_on, _ = lazy_names(
    __name__,
    {
        "jtask.runtime.current": [
            "call_headers",
            "current_run",
            "executing",
            "reset_current",
            "set_current",
        ],
        "jtask.runtime.enqueue_request": ["EnqueueRequest", "WhenSent"],
        "jtask.runtime.prefect_names": ["flow_run", "task_run"],
        "jtask.runtime.progress_reports": ["progress"],
        "jtask.runtime.run_context": ["RunContext"],
        "jtask.runtime.workers": ["HeldRun", "WorkerHandle", "WorkerInfo"],
    },
)


def __getattr__(name: str) -> Any:
    # A module may have this function (PEP 562). It is called at each access, so `runtime.run_id` is
    # that of the run in whose context it is read.
    if name in __all__:
        return _handed_on(name)
    from jtask.runtime.current import current_run
    from jtask.runtime.run_context import RunContext

    if name not in RunContext.__dataclass_fields__ and name not in _WORKED_OUT:
        from jtask.other_libraries import ON_RUNTIME, no_attribute

        known = no_attribute("jtask.runtime", name, ON_RUNTIME)
        raise known or AttributeError(f"jtask.runtime has no {name!r}")
    run = current_run()
    return None if run is None else getattr(run, name)


def __dir__() -> list[str]:
    # What a task asks for, first of all in a console's completions.
    return sorted({*__annotations__, *_OTHERS})
