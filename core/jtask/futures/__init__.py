"""Handles of runs, however they are run, and what waits for many of them."""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.futures.completion import (
        DoneAndNotDone,
        as_completed,
        as_completed_async,
        wait,
        wait_async,
    )
    from jtask.futures.future import Future
    from jtask.futures.future_list import FutureList
    from jtask.futures.resolving import resolve_futures_to_results, resolve_futures_to_states
    from jtask.futures.submitted_run import SubmittedRun

__all__ = [
    "DoneAndNotDone",
    "Future",
    "FutureList",
    "SubmittedRun",
    "as_completed",
    "as_completed_async",
    "resolve_futures_to_results",
    "resolve_futures_to_states",
    "wait",
    "wait_async",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jtask.futures.completion": [
            "DoneAndNotDone",
            "as_completed",
            "as_completed_async",
            "wait",
            "wait_async",
        ],
        "jtask.futures.future": ["Future"],
        "jtask.futures.future_list": ["FutureList"],
        "jtask.futures.resolving": ["resolve_futures_to_results", "resolve_futures_to_states"],
        "jtask.futures.submitted_run": ["SubmittedRun"],
    },
)
