"""What all parts of the broker share."""

from dataclasses import dataclass

from jtask.settings import Settings
from jtask_nats.client.connection import Connection
from jtask_nats.client.publisher import Publisher
from jtask_nats.streams.subjects import Subjects
from jtask_nats.streams.topology import Topology

_INLINE_LIMIT = 512 * 1024  # bytes
_HEADERS = 16 * 1024  # bytes


@dataclass(frozen=True, slots=True)
class Session:
    """One connection and what is known of the server behind it.

    Attributes:
        client: This process's client id.
    """

    connection: Connection
    publisher: Publisher
    subjects: Subjects
    topology: Topology
    settings: Settings
    client: str

    @property
    def inline_limit(self) -> int:
        """The largest body of a run or an outcome, in bytes; max_payload counts headers too."""
        return min(_INLINE_LIMIT, self.connection.max_payload - _HEADERS)
