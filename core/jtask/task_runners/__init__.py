"""Where submitted runs are executed: `with ThreadPoolTaskRunner(max_workers=4): ...`."""

from jtask.task_runners.asyncio_runner import AsyncioTaskRunner
from jtask.task_runners.background_runner import BackgroundTaskRunner
from jtask.task_runners.current import current_task_runner
from jtask.task_runners.process_pool import ProcessPoolTaskRunner
from jtask.task_runners.submitted import Call
from jtask.task_runners.task_runner import TaskRunner
from jtask.task_runners.thread_pool import ConcurrentTaskRunner, ThreadPoolTaskRunner

__all__ = [
    "AsyncioTaskRunner",
    "BackgroundTaskRunner",
    "Call",
    "ConcurrentTaskRunner",
    "ProcessPoolTaskRunner",
    "TaskRunner",
    "ThreadPoolTaskRunner",
    "current_task_runner",
]
