"""Delete one message of a queue."""

from jtask_nats.client.nats_errors import ApiError, is_gone
from jtask_nats.streams.session import Session


async def delete_message(session: Session, stream: str, sequence: int) -> bool:
    """Delete a message that no worker holds; False when it is gone already.

    No purge: if a dead worker holds the message, the server also forgets what others hold, which is
    then never delivered again once they have died (nats-server 2.15.1).

    Args:
        session: To the server.
        stream: Its name.
        sequence: Of the message.

    Raises:
        BrokerError: The server refuses, or does not answer.
    """
    # no_erase: the bytes on disk need not be overwritten.
    message = {"seq": sequence, "no_erase": True}
    try:
        await session.connection.api(f"STREAM.MSG.DELETE.{stream}", message)
    except ApiError as error:
        if not is_gone(error):
            raise
        return False
    return True
