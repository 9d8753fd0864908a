"""A process that renews leases while the interpreter of the worker is blocked."""
