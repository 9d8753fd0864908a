"""A worker: takes runs from the broker, executes them in its slots, settles them."""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.runtime import WorkerInfo
    from jtask.worker.worker import Worker

__all__ = ["Worker", "WorkerInfo"]

# The program takes exit codes and targets from this room. Its help must not import the worker,
# which imports the client and with it the settings: 0.3 seconds.
__getattr__, __dir__ = lazy_names(
    __name__,
    {"jtask.runtime.workers": ["WorkerInfo"], "jtask.worker.worker": ["Worker"]},
)
