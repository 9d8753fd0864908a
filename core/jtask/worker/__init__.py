"""A worker: takes runs from the broker, executes them in its slots, settles them."""

from typing import TYPE_CHECKING, Any

from jtask.runtime import WorkerInfo

if TYPE_CHECKING:
    from jtask.worker.worker import Worker

__all__ = ["Worker", "WorkerInfo"]


def __getattr__(name: str) -> Any:
    # The program takes exit codes and targets from this room. Its help must not import the worker,
    # which imports the client and with it the settings: 0.3 seconds.
    if name == "Worker":
        from jtask.worker.worker import Worker

        return Worker
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
