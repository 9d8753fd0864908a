"""Tags that a block of code puts on the runs it starts."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

# A context variable and no global: tasks on one event loop must not see each other's tags.
_tags: ContextVar[tuple[str, ...]] = ContextVar("jtask_tags", default=())


@contextmanager
def tags(*names: str) -> Generator[tuple[str, ...]]:
    """Put tags on all runs called, submitted or delayed inside the block.

    Args:
        names: The tags; blocks nest.
    """
    token = _tags.set(tuple(dict.fromkeys((*_tags.get(), *names))))
    try:
        yield _tags.get()
    finally:
        _tags.reset(token)


def current_tags() -> tuple[str, ...]:
    """Return the tags that `tags(...)` puts on runs started in this context."""
    return _tags.get()
