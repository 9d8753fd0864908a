"""What may stand in an address of any broker, checked where it comes in.

A run id, a queue or a priority becomes part of a subject, a key or a path. `*` or `>` there would
address what belongs to others.
"""

from collections.abc import Iterable
from functools import lru_cache

from jtask.contract.runs import Message
from jtask.errors import MessageRefused
from jtask.foreign_text import quoted
from jtask.ids import is_run_id
from jtask.names import TOP_PRIORITY, is_name


@lru_cache(maxsize=1024)  # a program has few, and names one for each run
def check_queue(queue: str) -> None:
    """Return if that can be the name of a queue.

    Raises:
        MessageRefused: It cannot.
    """
    if not is_name(queue):
        raise MessageRefused(
            f"{quoted(queue)} is not the name of a queue: "
            "that holds letters, digits, '_' and '-' only, up to 128 of them"
        )


def check_message(message: Message) -> None:
    """Return if a run can be addressed.

    Args:
        message: The run, before it is stored.

    Raises:
        MessageRefused: Its id, its queue or its priority is none; or it is parked for ever.
    """
    _check_run_id(message)
    _check_place(message)


def check_messages(messages: Iterable[Message]) -> None:
    """Do `check_message` for many."""
    good: tuple[object, ...] | None = None
    for message in messages:
        _check_run_id(message)
        # Nearly always the same for all of them.
        place = (message.queue, message.priority, message.parked_under, message.at)
        if place != good:
            _check_place(message)
            good = place


def _check_run_id(message: Message) -> None:
    if not is_run_id(message.run_id):
        raise MessageRefused(f"{quoted(message.run_id)} is not a run id: that is a UUIDv7")


def _check_place(message: Message) -> None:
    check_queue(message.queue)
    if not 0 <= message.priority <= TOP_PRIORITY:
        raise MessageRefused(
            f"{quoted(message.priority)} is not a priority: that is 0 to {TOP_PRIORITY}"
        )
    if message.parked_under is not None and message.at is None:
        raise MessageRefused(f"run {message.run_id} is parked, and without an instant")
