"""Tags that a block of code puts on the runs it starts."""

from collections.abc import Collection, Generator
from contextlib import contextmanager
from contextvars import ContextVar

# A context variable and no global: tasks on one event loop must not see each other's tags.
_tags: ContextVar[tuple[str, ...]] = ContextVar("jtask_tags", default=())


@contextmanager
def tags(*names: str) -> Generator[tuple[str, ...]]:
    """Put tags on all runs called, submitted or delayed inside the block.

    Args:
        names: The tags; blocks nest.

    Raises:
        TypeError: One of them is no string.
    """
    _check(names)
    token = _tags.set(tuple(dict.fromkeys((*_tags.get(), *names))))
    try:
        yield _tags.get()
    finally:
        _tags.reset(token)


def inherit(of_run: Collection[str], of_task: Collection[str]) -> None:
    """Put on what is started in this context what the caller of its run had put on that.

    Args:
        of_run: The run's tags: its task's, and the caller's.
        of_task: Those of its task, which are the task's alone.
    """
    _tags.set(tuple(tag for tag in of_run if tag not in of_task))


def tags_of_run(of_task: Collection[str]) -> tuple[str, ...]:
    """Return the tags of a run that is started in this context.

    Args:
        of_task: Those of its task, which come first.
    """
    extra = _tags.get()
    if not extra and not of_task:
        return ()
    # Sorted: a set has another order in each process, and what is sent should not.
    return tuple(dict.fromkeys((*sorted(of_task), *extra)))


def _check(names: tuple[object, ...]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"tags are strings, as in tags('a', 'b'), got {name!r}")
