"""Holes in arguments: where the value of another run goes that is not over yet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hole:
    """Stands in arguments for the value of a run.

    Attributes:
        run_id: The run.
    """

    run_id: str
