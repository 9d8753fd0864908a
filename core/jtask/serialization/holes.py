"""Holes in arguments: where the value of another run goes that is not over yet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Hole:
    """Stands in arguments for the value of a run.

    Attributes:
        run_id: The run.
    """

    run_id: str

    def __str__(self) -> str:
        return self.run_id  # in keys that are made of arguments by a template


@dataclass(frozen=True, slots=True)
class Filling:
    """What goes into the holes of one run.

    Attributes:
        load: Returns it as it is read without its task, or raises a `SerializationError`.
        stored: The JSON that is stored of it; None where it is none.
        is_error: Whether it is an exception.
    """

    load: Callable[[], Any]
    stored: bytes | None = None
    is_error: bool = False


Fillings = Mapping[str, Filling]
"""By run id."""
NOTHING: Fillings = {}
