"""Where submitted runs are executed: `with ThreadPoolTaskRunner(max_workers=4): ...`."""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.task_runners.asyncio_runner import AsyncioTaskRunner
    from jtask.task_runners.background_runner import BackgroundTaskRunner
    from jtask.task_runners.current import current_task_runner
    from jtask.task_runners.places import Places
    from jtask.task_runners.process_pool import ProcessPoolTaskRunner
    from jtask.task_runners.submitted import Call, Submitted
    from jtask.task_runners.task_runner import TaskRunner
    from jtask.task_runners.thread_pool import (
        ConcurrentTaskRunner,
        ThreadPool,
        ThreadPoolTaskRunner,
        checked_size,
    )

__all__ = [
    "AsyncioTaskRunner",
    "BackgroundTaskRunner",
    "Call",
    "ConcurrentTaskRunner",
    "Places",
    "ProcessPoolTaskRunner",
    "Submitted",
    "TaskRunner",
    "ThreadPool",
    "ThreadPoolTaskRunner",
    "checked_size",
    "current_task_runner",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jtask.task_runners.asyncio_runner": ["AsyncioTaskRunner"],
        "jtask.task_runners.background_runner": ["BackgroundTaskRunner"],
        "jtask.task_runners.current": ["current_task_runner"],
        "jtask.task_runners.places": ["Places"],
        "jtask.task_runners.process_pool": ["ProcessPoolTaskRunner"],
        "jtask.task_runners.submitted": ["Call", "Submitted"],
        "jtask.task_runners.task_runner": ["TaskRunner"],
        "jtask.task_runners.thread_pool": [
            "ConcurrentTaskRunner",
            "ThreadPool",
            "ThreadPoolTaskRunner",
            "checked_size",
        ],
    },
)
