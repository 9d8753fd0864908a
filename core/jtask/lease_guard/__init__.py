"""Keep leases while the worker's interpreter is blocked: offered to every broker that has leases.

docs/brokers.md has an example.
"""

from jtask.lease_guard.guard import LeaseGuard, end_with
from jtask.lease_watch.renewer import OpenRenewer, Renew
from jtask.lease_watch.table import NO_SLOT

__all__ = ["NO_SLOT", "LeaseGuard", "OpenRenewer", "Renew", "end_with"]
