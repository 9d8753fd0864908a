"""Times in which nobody could renew anything, and who may come back from them."""

import asyncio
import time

RECONNECT_GRACE = 3.0
"""Seconds after a lost connection in which others may come back and renew their leases. A server
that was away longer than a lease takes all of them for dead, and clients return one by one."""

_LAPSE_SHARE = 2  # of a lease: who renews three times in it had as much left at least


class Outages:
    """Know whether leases may have lapsed in an outage although their holders live.

    Outages that follow each other within the grace count as one: nobody may have got through.
    """

    def __init__(self) -> None:
        self._lost_at = self._back_at = self._lost_all_at = float("-inf")

    def on_disconnect(self) -> None:
        """Note that the connection was lost."""
        now = time.monotonic()
        if now - self._back_at > RECONNECT_GRACE:
            self._lost_at = now

    def on_reconnect(self) -> None:
        """Note that the connection is back."""
        self._back_at = time.monotonic()

    def on_loss(self) -> None:
        """Note that the server came back without any lease, however short the outage was."""
        self._lost_all_at = self._back_at

    async def let_others_return(self, lease: float) -> bool:
        """Wait until those who held a lease before an outage may have renewed it.

        Args:
            lease: Seconds that it is long.

        Returns:
            bool: Whether there was a reason to wait, so that what was read before may be outdated.
        """
        as_long = lease / _LAPSE_SHARE
        # Nobody was kept from renewing: who does so three times in a lease comes in its own time.
        until = self._lost_all_at + max(RECONNECT_GRACE, as_long)
        if self._back_at - self._lost_at >= as_long:
            until = max(until, self._back_at + RECONNECT_GRACE)
        left = until - time.monotonic()
        if left <= 0:
            return False
        await asyncio.sleep(left)
        return True
