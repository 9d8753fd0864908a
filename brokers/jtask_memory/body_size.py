"""What is too big for a message."""

from jtask.errors import MessageRefused

INLINE_LIMIT = 1_000_000
"""Bytes. Memory needs no limit, but what works here shall work on a server too."""


def check_size(what: str, run_id: str, body: bytes) -> None:
    """Refuse a body that is too big for a message.

    Args:
        what: What has the body, for the message.
        run_id: Of the run.
        body: The body.

    Raises:
        MessageRefused: It is.
    """
    if len(body) > INLINE_LIMIT:
        raise MessageRefused(
            f"{what} {run_id} has {len(body)} bytes, and a message holds {INLINE_LIMIT}: "
            "put it in a blob"
        )
