"""The run of a context."""

import contextlib
from collections.abc import Generator, Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType

from jtask.runtime.run_context import RunContext

# Runs share a thread or a loop, so the current run belongs to the context.
_current: "ContextVar[RunContext | None]" = ContextVar("jtask_run", default=None)

call_headers = ContextVar[Mapping[str, str]]("jtask_call_headers", default=MappingProxyType({}))
"""What direct calls in a context carry: plugins that know runs by it are asked for them."""


def current_run() -> RunContext | None:
    """Return the run that is being executed in this context, if any."""
    return _current.get()


def set_current(run: RunContext) -> "Token[RunContext | None]":
    """Make a run the current one until `reset_current` gets what this returns."""
    return _current.set(run)


def reset_current(token: "Token[RunContext | None]") -> None:
    """Undo `set_current`, in the same context."""
    _current.reset(token)


@contextlib.contextmanager
def executing(run: RunContext) -> Generator[None]:
    """Make a run the current one inside a `with` block."""
    token = set_current(run)
    try:
        yield
    finally:
        reset_current(token)
