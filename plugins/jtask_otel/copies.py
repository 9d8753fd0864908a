"""The trace in a process that only executes a run's function."""

from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry import context as contexts

from jtask.runtime import RunContext
from jtask_otel.ends import CHILD_SECONDS, ends
from jtask_otel.propagation import attempt_context


@contextmanager
def continued(run: RunContext) -> Generator[None]:
    """Make the attempt's span, which the worker has, the current one here."""
    ends.seconds = CHILD_SECONDS
    token = contexts.attach(attempt_context(run.headers))
    try:
        yield
    finally:
        contexts.detach(token)
