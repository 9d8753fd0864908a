"""Test tasks, and hold brokers to their contract.

`jtask.testing.plugin` has the pytest fixtures (docs/testing.md), `jtask.testing.contract` the
suite that any broker package runs against itself.
"""

from jtask.testing.workers import RunningWorker, run_worker, start_worker

__all__ = ["RunningWorker", "run_worker", "start_worker"]
