"""Find the broker that a URL names."""

import asyncio
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import cast

from jtask.contract import BrokerFactory, FullBroker
from jtask.errors import ConfigurationError

GROUP = "jtask.brokers"


async def open_broker(url: str, client: str) -> FullBroker:
    """Connect to the broker at a URL; runs on the I/O loop.

    Args:
        url: The scheme names an entry point of the group `jtask.brokers`.
        client: This process's client id.

    Raises:
        ConfigurationError: No installed broker has the scheme.
        BrokerUnavailable: It cannot be reached.
    """
    return await find_factory(url)(url, client, asyncio.get_running_loop())


def find_factory(url: str) -> BrokerFactory:
    """Return what opens brokers of a URL's scheme.

    Raises:
        ConfigurationError: No installed broker has the scheme.
    """
    scheme, separator, _ = url.partition("://")
    points = {point.name: point for point in entry_points(group=GROUP)}
    if not separator or scheme not in points:
        near = get_close_matches(scheme, points, n=1)
        hint = f"did you mean {near[0]}://...?" if near else "is its package installed?"
        known = ", ".join(f"{name}://" for name in sorted(points))
        raise ConfigurationError(
            f"JTASK_URL is {url!r}: no broker has the scheme {scheme!r} ({hint}); known: {known}"
        )
    try:
        return cast("BrokerFactory", points[scheme].load())
    except ImportError as error:
        raise ConfigurationError(
            f"the broker for {scheme}:// ({points[scheme].value}) cannot be loaded: {error}"
        ) from error
