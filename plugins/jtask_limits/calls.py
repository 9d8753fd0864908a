"""What becomes of many calls that are sent at once under a limit: those that must wait are parked.

So no worker gets them only to park them one by one. The last one comes by itself after a lease, to
park anew, as a rule. Should this process have died before it handed on what is free, that one
starts, and wakes the next when it is over.
"""

import time
from typing import TYPE_CHECKING

from jtask.claims import Sending
from jtask.client import get_client
from jtask.errors import RunRefused
from jtask.settings import get_settings
from jtask_limits.applying import NOTE
from jtask_limits.runs import LONGEST_WAIT
from jtask_limits.slots import Slot, own_slots

if TYPE_CHECKING:
    from jtask.runtime import EnqueueRequest


def claim_for(request: "EnqueueRequest") -> "Place | None":
    """Return the place of a call among those that are sent with it; None when it has none.

    Args:
        request: The call.
    """
    # A function of the run may ask it for more than a call knows; so may a key of values that are
    # not known yet. And what is due later is parked when its time has come.
    is_open = callable(request.task.options["limit_key"]) or request.needs is not None
    is_open |= request.at is not None
    if request.count == 1 or is_open:
        return None
    together: dict[str, Together] = request.shared.setdefault(NOTE, {})
    for slot in _slots_of(request):
        calls = together.setdefault(slot.name, Together(slot))
        calls.count += 1
        return Place(calls, calls.count)
    return None


class Together:
    """The calls that are sent together and need the same slots.

    Args:
        slot: What each needs one of.
    """

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.count = 0


class Place:
    """The place of one call: a `jtask.claims.Claim`.

    Args:
        together: The calls that it is sent with.
        number: Which of them it is, from 1.
    """

    def __init__(self, together: Together, number: int) -> None:
        self._together = together
        self._number = number

    async def take(self, sending: Sending) -> str | None:
        """Park the run if it is one of more than may execute at once."""
        together, message = self._together, sending.message
        if together.slot.limit < together.count and message.at is None:
            is_last = together.count == self._number
            message.at = time.time() + (get_settings().lease if is_last else LONGEST_WAIT)
            message.parked_under = together.slot.name
        return None

    async def sent(self, sending: Sending) -> str | None:
        """Wake as many as there are free slots; many who ask at once are answered together."""
        slot = self._together.slot
        if sending.message.parked_under == slot.name:
            await get_client().slots.watch(slot.name, slot.now)
        return None

    async def withdraw(self, sending: Sending) -> None:
        """Do nothing: it has nothing yet."""
        del sending


def _slots_of(request: "EnqueueRequest") -> list[Slot]:
    try:
        return own_slots(request)
    except RunRefused:
        return []  # the run will be refused
