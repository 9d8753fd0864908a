"""Keep leases while the worker's interpreter is blocked: offered to every broker that has leases.

docs/brokers.md has an example.
"""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.lease_guard.guard import LeaseGuard, end_with
    from jtask.lease_watch.renewer import OpenRenewer, Renew
    from jtask.lease_watch.table import NO_SLOT

__all__ = ["NO_SLOT", "LeaseGuard", "OpenRenewer", "Renew", "end_with"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jtask.lease_guard.guard": ["LeaseGuard", "end_with"],
        "jtask.lease_watch.renewer": ["OpenRenewer", "Renew"],
        "jtask.lease_watch.table": ["NO_SLOT"],
    },
)
