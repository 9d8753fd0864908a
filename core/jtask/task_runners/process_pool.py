"""The task runner that executes runs in child processes."""

import os
from typing import Any, Self

from jtask.errors import TaskDefinitionError
from jtask.futures.future import Future
from jtask.plugins import hooks_of
from jtask.settings import get_settings
from jtask.task_runners.places import Places
from jtask.task_runners.submitted import Call, Submitted
from jtask.task_runners.task_runner import TaskRunner
from jtask.task_runners.thread_pool import ThreadPool, checked_size


class ProcessPoolTaskRunner(TaskRunner):
    """Execute the functions of runs in child processes, which are started when they are needed.

    Hooks are called in this process, and the logs of the runs come here. Arguments and values
    travel by cloudpickle, whatever the task declares. A run that is cancelled, or exceeds its
    timeout, is ended along with its process. Tasks that such a run submits are executed in threads
    of its process, unless it chooses another task runner.

    Args:
        max_workers: How many runs execute at once; None takes the setting `runner_processes`.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__()
        self._max_workers = checked_size(max_workers)
        size = max_workers or get_settings().runner_processes or os.cpu_count() or 1
        self._places = Places[Submitted](size)

    def start(self, call: Call) -> Future[Any]:
        """Begin a run, or have it begin once what it waits for is over; returns at once.

        Raises:
            TaskDefinitionError: A child process cannot load the task.
        """
        isolate = hooks_of(call.task).isolation()
        if isolate is None:
            raise TaskDefinitionError(
                f"task {call.task.name!r} cannot be executed in another process: define it at the "
                f"top of a module, and load the plugin 'timeouts', which starts the processes"
            )
        submitted = Submitted(call, ThreadPool(self._places), isolate)
        submitted.begin()
        return submitted.future

    def duplicate(self) -> Self:
        """Return a task runner of the same size that has no runs."""
        return type(self)(self._max_workers)
