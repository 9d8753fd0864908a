"""What all runs of a task that are sent from here have in common, worked out once per task."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jtask.declaration.definition import Definition
from jtask.declaration.kept_facts import kept_in_task
from jtask.declaration.task_info import TaskInfo
from jtask.execution.run_options import carried_options
from jtask.hook_callers import HookCaller
from jtask.plugins import hooks_of
from jtask.run_arguments import REDACT
from jtask.wire.envelope import EnvelopeTemplate

# A copy of a task is often made for one call.
_template_of = lru_cache(maxsize=1024)(EnvelopeTemplate)


@dataclass(frozen=True, slots=True)
class CommonParts:
    """What the task alone decides.

    Attributes:
        timeless: Options with which a run may start at any time; None if it may not by the task's.
        queue: Where the runs wait unless a call says otherwise.
        hook: Asks the plugins about each run; None where none wants to be asked.
        carried: Options that they carry.
        redact: Names of parameters and keys whose values are not recorded.
        is_plain: Whether `template` says it all, but for what the caller's context adds.
        template: Of their envelopes.
    """

    timeless: Definition | None
    queue: str
    hook: HookCaller | None
    carried: dict[str, object]
    redact: tuple[str, ...]
    is_plain: bool
    template: EnvelopeTemplate


@kept_in_task
def common_parts(task: TaskInfo[..., Any]) -> CommonParts:
    """Return what the runs of a task have in common.

    Raises:
        TaskDefinitionError: An option of a copy cannot travel to a worker.
    """
    hook = hooks_of(task).enqueue  # first: it gives the task the defaults of its options
    carried = carried_options(task)
    redact = tuple(cast("Sequence[str]", task.options.get(REDACT) or ()))
    given = task.definition
    is_timed = given.eta is not None or given.delay is not None or given.expires is not None
    return CommonParts(
        timeless=None if is_timed else given,
        queue=task.queue,
        hook=hook,
        carried=carried,
        redact=redact,
        is_plain=not (carried or redact or task.version is not None),
        template=_template_of(task.key, task.name, task.serializer),
    )
