"""The earlier path of `jtask_cancellation.bulk`, kept for programs that import it."""

from jtask_cancellation.bulk import (
    Found,
    cancel_many,
    find_runs,
)

__all__ = [
    "Found",
    "cancel_many",
    "find_runs",
]
