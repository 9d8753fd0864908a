"""A worker: takes runs from the broker, executes them in its slots, settles them."""

from jtask.worker.worker import Cancellation, Worker, WorkerInfo

__all__ = ["Cancellation", "Worker", "WorkerInfo"]
