"""The process beside a worker that renews its leases while it cannot: see `jtask.lease_guard`.

While it only watches it imports nothing but this package, so that it takes 5 MiB and not 13.
"""
