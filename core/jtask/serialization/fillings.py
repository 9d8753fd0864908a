"""What goes into the holes of arguments: the ends of the runs that were waited for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jtask.errors import SerializationError
from jtask.serialization.results import read_untyped, unpickled


@dataclass(frozen=True, slots=True)
class Filling:
    """What goes into the holes of one run.

    Attributes:
        run_id: The run.
        serializer: How its value was written.
        payload: The value as it was stored.
        error: The exception that goes there instead; None for a run that has a value.
    """

    run_id: str
    serializer: str
    payload: bytes
    error: BaseException | None = None

    def value(self, *, may_unpickle: bool) -> Any:
        """Return the value, as it is read without its task.

        Args:
            may_unpickle: Whether the task that takes it declares cloudpickle itself.

        Raises:
            SerializationError: It cannot be read.
        """
        if self.error is not None:
            return self.error
        subject = f"the result of run {self.run_id}"
        if self.serializer == "json":
            return read_untyped(self.payload, subject)
        if not may_unpickle:
            raise SerializationError(f"{subject} is encoded with {self.serializer!r}, not as JSON")
        return unpickled(self.payload, subject)


Fillings = Mapping[str, Filling]
"""By run id."""
NOTHING: Fillings = {}
