"""A server for the contract suite, whose assertions pytest is to explain."""

import pytest
from nats_servers import nats_server, start_nats

__all__ = ["nats_server", "start_nats"]

pytest.register_assert_rewrite("jtask.testing.contract")
