"""The earlier path of `jtask_queues.operations`, kept for programs that import it."""

from jtask_queues.operations import (
    list_queues,
    pause_queue,
    purge_queue,
    resume_queue,
)

__all__ = [
    "list_queues",
    "pause_queue",
    "purge_queue",
    "resume_queue",
]
