"""What plugins claim for one run before it is sent (`jtask.claims.Claim`)."""

import logging
from collections.abc import Sequence

from jtask.claims import Claim, Sending
from jtask.contract import Broker, Message
from jtask.errors import BrokerError

_log = logging.getLogger("jtask")


class ClaimedRun:
    """The claims of one run, taken in order, all or none; on the I/O loop.

    Args:
        message: The run.
        claims: What the plugins returned for it.
        broker: Where it goes.
    """

    def __init__(self, message: Message, claims: Sequence[Claim], broker: Broker) -> None:
        self.run_id = message.run_id
        self._sending = Sending(broker, message)
        self._claims = list(claims)

    async def take(self) -> str | None:
        """Take the claims; return the run that is there instead, or None to send this one.

        Raises:
            JTaskError: It must not be sent.
        """
        for claim in tuple(self._claims):
            try:
                other = await claim.take(self._sending)
            except Exception:
                await self._withdraw_others(claim)
                raise
            if other is not None:
                await self._withdraw_others(claim)
                return other
        return None

    async def sent(self) -> str | None:
        """Tell the claims that the run is stored; return a run that counts instead, or None."""
        answers = [await claim.sent(self._sending) for claim in self._claims]
        return next((other for other in answers if other is not None), None)

    async def withdraw(self) -> None:
        """Give up all claims."""
        claims, self._claims = self._claims, []
        for claim in reversed(claims):
            try:
                await claim.withdraw(self._sending)
            except BrokerError as error:  # whoever comes next finds that the run is not there
                _log.debug("a claim of run %s is not withdrawn: %s", self.run_id, error)

    async def _withdraw_others(self, claim: Claim) -> None:
        self._claims.remove(claim)
        await self.withdraw()
