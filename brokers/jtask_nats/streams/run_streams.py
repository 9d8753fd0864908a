"""The streams that hold the runs of a namespace, and which of them holds those of a queue."""

import zlib
from collections.abc import Iterable


def part_of(queue: str, number: int) -> int:
    """Return which of a number of streams holds the runs of a queue, counted from 1.

    In every language and version the same: a CRC-32 of the name (as in zlib).
    """
    return zlib.crc32(queue.encode()) % number + 1


def part_token(part: int, number: int) -> str:
    """Return what stands in front of the queue in the subjects of one of several streams.

    The number is in it, so that a process that has another one finds no stream that takes its runs,
    rather than put them where nobody looks. No queue can have such a name.
    """
    return f"={part}of{number}"


class RunStreams:
    """The names of the streams that hold the runs of a namespace.

    Args:
        namespace: From the settings.
        number: Over how many streams the runs are spread.

    Attributes:
        names: Of all, that of the first one the same whatever their number.
    """

    def __init__(self, namespace: str, number: int = 1) -> None:
        first = f"JTASK_{namespace}"
        self.names = (first, *(f"{first}_RUNS_{part}" for part in range(2, number + 1)))

    @property
    def first(self) -> str:
        """The stream that is there in any case, and tells how many there are."""
        return self.names[0]

    def of(self, queue: str) -> str:
        """Return the stream that holds the runs of a queue; the only place that decides it."""
        names = self.names
        return names[0] if len(names) == 1 else names[part_of(queue, len(names)) - 1]

    def of_queues(self, queues: Iterable[str]) -> dict[str, list[str]]:
        """Return the queues of each stream that holds runs of some of them."""
        found: dict[str, list[str]] = {}
        for queue in queues:
            found.setdefault(self.of(queue), []).append(queue)
        return found
