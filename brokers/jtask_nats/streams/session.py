"""What all parts of the broker share: the connection, and what is built on it."""

from dataclasses import dataclass

from jtask.settings import Settings
from jtask_nats.client.connection import Connection
from jtask_nats.client.publisher import Publisher
from jtask_nats.streams.subjects import Subjects
from jtask_nats.streams.topology import Topology

_INLINE_LIMIT = 512 * 1024  # bytes; what is larger is quicker and safer as a blob in chunks
_HEADERS = 16 * 1024  # bytes; the server closes the connection for a message above max_payload


@dataclass(frozen=True, slots=True)
class Session:
    """One connection, and what is needed to use the server behind it.

    Attributes:
        connection: To the server.
        publisher: On that connection.
        subjects: Of the namespace.
        topology: The streams and consumers of the namespace.
        settings: Of this process.
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
