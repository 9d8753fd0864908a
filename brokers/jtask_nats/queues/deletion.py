"""Delete one message of a queue."""

from jtask_nats.client.purging import Deleted, delete_at
from jtask_nats.streams.session import Session


async def delete_message(session: Session, stream: str, sequence: int) -> Deleted:
    """Delete a message that no worker holds.

    No purge: if a dead worker holds the message, the server also forgets what others hold, which is
    then never delivered again once they have died (nats-server 2.15.1).

    Args:
        session: To the server.
        stream: Its name.
        sequence: Of the message.

    Raises:
        BrokerError: The server refuses, or does not answer.
    """
    return await delete_at(session.connection, stream, sequence)
