"""Test tasks, and hold brokers to their contract.

`jtask.testing.plugin` has the pytest fixtures (docs/testing.md), `jtask.testing.contract` the
suite that any broker package runs against itself.
"""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.testing.workers import RunningWorker, run_worker, start_worker

__all__ = ["RunningWorker", "run_worker", "start_worker"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jtask.testing.workers": ["RunningWorker", "run_worker", "start_worker"],
    },
)
