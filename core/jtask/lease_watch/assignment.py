"""What a worker tells its lease guard on standard input."""

import json
from typing import NamedTuple


class Assignment(NamedTuple):
    """Whom to guard, and how.

    Attributes:
        worker: Its process id.
        table: The inherited descriptor of the memory that both share.
        lease: Seconds after which an unrenewed lease is over.
        beat: Seconds between two looks at the worker.
        renewer: What opens the broker's renewer, as `module:name`.
        config: What it is called with, as JSON.
        supervisor: Process id of the worker's supervisor; 0 when it has none.
        patience: Seconds that the worker may go on after its supervisor without being able to stop.
    """

    worker: int
    table: int
    lease: float
    beat: float
    renewer: str
    config: str
    supervisor: int = 0
    patience: float = 0.0

    def to_line(self) -> bytes:
        """Return the line that `from_line` reads."""
        return json.dumps(self).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Assignment":
        """Return what `to_line` wrote."""
        return cls(*json.loads(line))
