"""What a plugin claims for a run before that is sent: see `jtask.hooks.jtask_enqueue`."""

from typing import NamedTuple, Protocol

from jtask.contract import Broker, Message


class Sending(NamedTuple):
    """A run on its way to the broker, given to a `Claim`.

    Attributes:
        broker: Where it goes; its methods are called on the I/O loop, where claims are.
        message: What is sent; a claim may change its instant, and its body.
    """

    broker: Broker
    message: Message


class Claim(Protocol):
    """What a plugin claims for a run before it is sent, returned by `jtask_enqueue`.

    Its methods are awaited on the I/O loop, so they must not block. Those of the runs of one
    `delay_many` are awaited side by side.
    """

    async def take(self, sending: Sending) -> str | None:
        """Claim it, right before the run is sent.

        Args:
            sending: The run, and where it goes.

        Returns:
            str | None: The run that is there instead: its handle is what the caller gets, and
            nothing is sent. None sends this one.

        Raises:
            JTaskError: This run must not be sent, nor any other that is stored all or none with it;
                the caller gets the error.
        """
        ...

    async def sent(self, sending: Sending) -> str | None:
        """Learn that the run is stored.

        Args:
            sending: The run, and where it is.

        Returns:
            str | None: Another run whose handle the caller gets, if that one has come to count
            meanwhile; None for this one.
        """
        ...

    async def withdraw(self, sending: Sending) -> None:
        """Give up what was claimed: the run is not stored, and will not be.

        Not called where that is not known, such as when the broker does not answer, nor of the
        claim that said so itself; but of those that were not asked any more.

        Args:
            sending: The run that was to be sent.
        """
        ...
