"""What is too big for a message, and what is as good as never."""

from jtask.errors import BrokerError

FOREVER = 32_503_680_000.0
"""Seconds since the epoch: the year 3000, which stands for a pause without an end."""
INLINE_LIMIT = 1_000_000
"""Bytes. Memory needs no limit, but what works here shall work on a server too."""


def check_size(what: str, run_id: str, body: bytes) -> None:
    """Refuse a body that is too big for a message.

    Raises:
        BrokerError: It is.
    """
    if len(body) > INLINE_LIMIT:
        raise BrokerError(
            f"{what} {run_id} has {len(body)} bytes, and a message holds {INLINE_LIMIT}: "
            "put it in a blob"
        )
