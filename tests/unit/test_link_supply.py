"""When a connection beside the main one is opened, and what that does to who opens it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from jtask.errors import BrokerUnavailable, SoftTimeout
from jtask_nats.client.link import Link
from jtask_nats.client.link_supply import LinkSupply
from jtask_timeouts.interrupts import SoftInterrupt

CONNECTED = SimpleNamespace(
    url="nats://127.0.0.1:1", greeting=None, is_connected=True, on_close=lambda close: None
)


def opening(error: BaseException) -> Link | None:
    """Open a link whose handshake ends with an error."""

    def fail(*_: object) -> Link:
        raise error

    supply = LinkSupply(cast("Any", CONNECTED), timeout=1.0, limit=1)
    return supply.open(cast("type[Link]", SimpleNamespace(open=fail)), "inbox.*")


@pytest.mark.parametrize("error", [ConnectionRefusedError(), BrokerUnavailable("it is away")])
def test_what_cannot_be_opened_leaves_everything_to_the_main_connection(error: Exception) -> None:
    assert opening(error) is None


def test_a_task_that_opens_one_hears_of_its_soft_limit() -> None:
    with pytest.raises(SoftTimeout):
        opening(SoftInterrupt())
