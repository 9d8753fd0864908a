"""The process beside a worker that renews its leases while it cannot: see `jtask.lease_guard`.

While it only watches it imports nothing but this package, and of the standard library next to
nothing, so that it takes 3.5 MiB and not 13.
"""
