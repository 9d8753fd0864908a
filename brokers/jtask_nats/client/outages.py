"""Times in which nobody could renew anything, and who may come back from them."""

import asyncio
import time

RECONNECT_GRACE = 3.0
"""Seconds after an outage in which others may come back and renew their leases. A server that was
away longer than a lease takes all of them for dead, and clients return one by one."""
_APART = 2 * RECONNECT_GRACE
"""Seconds between two outages: who has waited for the grace may be refused only then."""

_LAPSE_SHARE = 2  # of a lease: who renews three times in it, or more often, had as much left


class Outages:
    """Know whether leases may have lapsed in an outage although their holders live.

    Outages that follow each other closely count as one: nobody may have got through.
    """

    def __init__(self) -> None:
        self._lost_at = self._back_at = float("-inf")

    def on_disconnect(self) -> None:
        """Note that the connection was lost."""
        now = time.monotonic()
        if now - self._back_at > _APART:
            self._lost_at = now

    def on_reconnect(self) -> None:
        """Note that the connection is back."""
        self._back_at = time.monotonic()

    def on_refusal(self) -> None:
        """Note that the server had no room for a lease."""
        self.on_disconnect()
        self.on_reconnect()

    async def let_others_return(self, lease: float) -> bool:
        """Wait until those who held a lease before an outage may have renewed it.

        Args:
            lease: Seconds that it is long.

        Returns:
            bool: Whether there was a reason to wait, so that what was read before may be outdated.
        """
        # Nobody was kept from renewing: who does so several times in a lease comes in its own time.
        if self._back_at - self._lost_at < lease / _LAPSE_SHARE:
            return False
        left = self._back_at + RECONNECT_GRACE - time.monotonic()
        if left <= 0:
            return False
        await asyncio.sleep(left)
        return True
