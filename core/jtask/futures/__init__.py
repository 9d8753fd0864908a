"""Handles of runs, however they are run, and what waits for many of them."""

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
