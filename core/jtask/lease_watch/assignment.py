"""What a worker tells its lease guard on standard input."""

SHORT_LEASE = 5.0
"""Seconds; under this there is no time to start, import and connect when it is needed."""
_BETWEEN = "\0"  # stands in no number, no name, and no JSON


class Assignment:
    """Whom to guard, and how.

    Args:
        worker: Its process id.
        table: The inherited descriptor of the memory that both share.
        lease: Seconds after which an unrenewed lease is over.
        beat: Seconds between two looks at the worker.
        renewer: What opens the broker's renewer, as `module:name`.
        config: What it is called with, as JSON.
        supervisor: Process id of the worker's supervisor; 0 when it has none.
        patience: Seconds that the worker may go on after its supervisor without being able to stop.
    """

    # No named tuple and no JSON here: to import what makes them takes half a MiB each.
    def __init__(
        self,
        worker: int,
        table: int,
        lease: float,
        beat: float,
        renewer: str,
        config: str,
        supervisor: int = 0,
        patience: float = 0.0,
    ) -> None:
        self.worker = worker
        self.table = table
        self.lease = lease
        self.beat = beat
        self.renewer = renewer
        self.config = config
        self.supervisor = supervisor
        self.patience = patience

    def to_line(self) -> bytes:
        """Return the line that `from_line` reads."""
        numbers = (self.worker, self.table, self.lease, self.beat, self.supervisor, self.patience)
        parts = (*map(str, numbers), self.renewer, self.config)
        return _BETWEEN.join(parts).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Assignment":
        """Return what `to_line` wrote."""
        worker, table, lease, beat, supervisor, patience, renewer, config = (
            line.removesuffix(b"\n").decode().split(_BETWEEN)
        )
        return cls(
            int(worker),
            int(table),
            float(lease),
            float(beat),
            renewer,
            config,
            int(supervisor),
            float(patience),
        )
