"""The task runner that delays: its runs are executed by workers."""

from typing import Any, Self, cast

from jtask.futures.future import Future
from jtask.task_runners.submitted import Call
from jtask.task_runners.task_runner import TaskRunner


class BackgroundTaskRunner(TaskRunner):
    """Have workers execute what is submitted: `.submit()` does what `.delay()` does."""

    def start(self, call: Call) -> Future[Any]:
        """Store a run; durable on return.

        Raises:
            BrokerUnavailable: Not stored within the setting `enqueue_timeout`.
            JTaskError: As for `delay`.
        """
        delayed: Any = call.task  # which has the verbs of a task, and its bound arguments itself
        args = call.args[len(call.task.bound) :]
        run = delayed.apply_async(args, call.kwargs, wait_for=call.wait_for)
        return cast("Future[Any]", run)

    def duplicate(self) -> Self:
        """Return another one."""
        return type(self)()
