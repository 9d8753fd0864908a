"""What runs need slots of."""

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from jtask.argument_keys import make_key, storable
from jtask.client import get_client
from jtask.errors import RunRefused
from jtask.lifecycle import describe
from jtask_limits.definitions import limits_of

if TYPE_CHECKING:
    from jtask.declaration.task_info import TaskInfo
    from jtask.runtime import EnqueueRequest, RunContext

_LONGEST_KEY, _LONGEST_NAME = 100, 190  # characters that stay readable in the name of a slot


class Slot(NamedTuple):
    """What a run needs a slot of.

    Attributes:
        name: What the slots are called.
        limit: How many there are.
        about: For people.
        known_as: The name of its limit; None for that of a task. Blocks of code may wait for it
            too, and it may be changed at any time.
    """

    name: str
    limit: int
    about: str
    known_as: str | None = None

    async def now(self) -> int:
        """Return how many there are now."""
        if self.known_as is None:
            return self.limit
        client = get_client()
        return await client.io.bridge(limits_of(client.broker).slots_now(self.known_as))


def own_slots(context: "EnqueueRequest | RunContext") -> list[Slot]:
    """Return what a call or a run needs for the limit of its task: at most one slot.

    Raises:
        RunRefused: The task's `limit_key` makes no key.
    """
    task = context.task
    limit: int | None = task.options["limit"]  # type: ignore[assignment]
    if limit is None:
        return []
    name, about = _stem(task), f"task {task.name!r}"
    if (key := _key_of(context)) is not None:
        name, about = f"{name}-{storable(key, _LONGEST_KEY)}", f"{about} for {key!r}"
    return [Slot(storable(name, _LONGEST_NAME), limit, about)]


def handed_slots(run: "RunContext") -> list[Slot]:
    """Return the slot of its task's limit that a run was woken with: at most one."""
    limit: int | None = run.task.options["limit"]  # type: ignore[assignment]
    name = (run.token or "").partition("@")[2]
    if limit is None or not name.startswith(_stem(run.task)):
        return []
    return [Slot(name, limit, f"task {run.task.name!r}")]


def _stem(task: "TaskInfo[..., Any]") -> str:
    return f"limit-task-{task.key}"


def _key_of(context: "EnqueueRequest | RunContext") -> str | None:
    wanted = context.task.options["limit_key"]
    if wanted is None:
        return None
    try:
        return str(make_key(wanted, context))
    except (Exception, asyncio.CancelledError) as error:
        # Without a key it would be limited by nothing.
        raise RunRefused(f"its limit_key makes no key: {describe(error)}") from error
