"""Which task runner `.submit()` and `.map()` use."""

import os

from jtask.execution.one_per_process import OnePerProcess
from jtask.task_runners.task_runner import TaskRunner, entered
from jtask.task_runners.thread_pool import ThreadPoolTaskRunner

_default: OnePerProcess[TaskRunner] = OnePerProcess(ThreadPoolTaskRunner)


def current_task_runner() -> TaskRunner:
    """Return the task runner of the innermost `with` block, else the threads of this process."""
    return entered.get() or _default.get()


# In a forked child, who holds its places does not exist.
os.register_at_fork(after_in_child=lambda: entered.set(None))
