"""A worker: takes runs from the broker, executes them in its slots, settles them."""

from jtask.runtime import WorkerInfo
from jtask.worker.worker import Worker

__all__ = ["Worker", "WorkerInfo"]
