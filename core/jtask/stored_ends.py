"""The end of a run that is stored, given to the hook `jtask_stored`."""

from dataclasses import dataclass

from jtask.contract import Broker


@dataclass(slots=True)
class StoredEnd:
    """The end of a run that is stored; not to be changed.

    Every run has one, and a frozen dataclass takes four times as long to make.

    Attributes:
        run_id: The run.
        broker: Where it is stored; its methods are called on the I/O loop, where the hook is.
        is_news: Whether this worker has stored it just now. Otherwise somebody else has, and may
            have been lost before anybody was told of it.
    """

    run_id: str
    broker: Broker
    is_news: bool
