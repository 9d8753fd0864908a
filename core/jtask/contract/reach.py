"""What a broker's factory says of its brokers before one is opened."""

from collections.abc import Callable
from typing import TypeVar

_MARK = "jtask_in_process"

F = TypeVar("F", bound=Callable[..., object])

_is_child = False


def in_process(factory: F) -> F:
    """Mark the factory of brokers that no other process can reach: a decorator.

    What is stored there ends with the process. So `jtask enqueue` refuses such a broker, and
    `jtask serve` warns that no other program can give the worker runs.
    """
    setattr(factory, _MARK, True)
    return factory


def mark_as_child() -> None:
    """Say that this process executes runs of the one that has started it, and has their broker."""
    global _is_child
    _is_child = True


def is_child() -> bool:
    """Tell whether a broker inside this process would be another one than is meant."""
    return _is_child


def is_in_process(factory: Callable[..., object]) -> bool:
    """Tell whether a broker's factory is marked with `in_process`."""
    return bool(getattr(factory, _MARK, False))
