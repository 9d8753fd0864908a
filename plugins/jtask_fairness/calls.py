"""What becomes of a call whose task has a `fair_key`: it is parked behind those of its tenant."""

import logging
import time
from typing import TYPE_CHECKING

from jtask.argument_keys import make_key
from jtask.claims import Sending
from jtask.errors import BrokerError, TaskDefinitionError
from jtask.lifecycle import describe
from jtask.settings import settings_of
from jtask_fairness.settings import FairnessSettings
from jtask_fairness.tenants import PATIENCE, Tenants

if TYPE_CHECKING:
    from jtask.runtime import EnqueueRequest

_NOTE = "jtask_fairness"
_log = logging.getLogger("jtask")


def claim_for(request: "EnqueueRequest", header: str) -> "Turn | None":
    """Return the place of a call among those of its tenant; None when it has no tenant.

    Args:
        request: The call; its run gets the header with its tenant.
        header: That header.

    Raises:
        TaskDefinitionError: The key cannot be made.
    """
    tenant = _tenant_of(request)
    # One that is due later is not on the queue until then, and nobody's turn comes before it.
    if tenant is None or request.at is not None:
        return None
    request.headers[header] = tenant
    calls: dict[str, TenantCalls] = request.shared.setdefault(_NOTE, {})
    is_first = tenant not in calls
    together = calls.setdefault(tenant, TenantCalls(tenant, request.queue))
    return Turn(together, is_first=is_first)


class TenantCalls:
    """The calls of one tenant that are sent together; on the I/O loop.

    Args:
        tenant: Whose.
        queue: Where their runs wait.
    """

    def __init__(self, tenant: str, queue: str) -> None:
        self.tenant, self._queue = tenant, queue
        self._looks = self._is_looking = False

    def tenants(self, sending: Sending) -> Tenants:
        """Return the tenants of the queue."""
        return Tenants(sending.broker, self._queue)

    async def look(self, sending: Sending) -> None:
        """Wake as many as there is room for; many who ask at once are answered together."""
        self._looks = True
        if self._is_looking:
            return
        self._is_looking = True
        try:
            while self._looks:
                self._looks = False
                await self._fill(self.tenants(sending))
        finally:
            self._is_looking = False

    async def _fill(self, tenants: Tenants) -> None:
        # A worker that found nothing parked may have forgotten the tenant just before.
        if not await tenants.is_known(self.tenant):
            await tenants.arrive(self.tenant)
        try:
            room = settings_of(FairnessSettings).fair_window - await tenants.on_queue()
            if room > 0:
                await tenants.wake(self.tenant, room)
        except BrokerError as error:
            # The runs are stored, so their calls have not failed: a worker fills up soon.
            _log.debug("no run of a tenant was woken: %s", error)


class Turn:
    """The place of one call: a `jtask.claims.Claim`.

    Args:
        together: The calls that it is sent with.
        is_first: Whether it is the first of them.
    """

    def __init__(self, together: TenantCalls, *, is_first: bool) -> None:
        self._together = together
        self._is_first = is_first

    async def take(self, sending: Sending) -> str | None:
        """Park the run, unless its tenant has none that waits."""
        tenants, tenant = self._together.tenants(sending), self._together.tenant
        if self._is_first and await tenants.arrive(tenant):
            return None
        sending.message.at = time.time() + PATIENCE
        sending.message.parked_under = tenants.key(tenant)
        return None

    async def sent(self, sending: Sending) -> str | None:
        """Wake what there is room for."""
        await self._together.look(sending)
        return None

    async def withdraw(self, sending: Sending) -> None:
        """Do nothing: a tenant without runs is forgotten by the next worker that looks."""
        del sending


def _tenant_of(request: "EnqueueRequest") -> str | None:
    try:
        found = make_key(request.task.options["fair_key"], request)
    except Exception as error:
        raise TaskDefinitionError(
            f"task {request.task.name!r}: its fair_key makes no key: {describe(error)}"
        ) from error
    return None if found is None else str(found)
