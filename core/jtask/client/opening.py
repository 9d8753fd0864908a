"""Find the broker that a URL names, and the result store where that is another one."""

import asyncio
import re
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from jtask.contract import BrokerFactory, Broker, ResultStoreFactory
from jtask.errors import ConfigurationError, JTaskError

_CREDENTIALS = re.compile(r"(^|//|,)[^/@,]+@")


class _Kind(NamedTuple):
    """What can be found by a URL's scheme."""

    name: str
    setting: str
    group: str


_BROKER = _Kind("broker", "JTASK_URL", "jtask.brokers")
_RESULT_STORE = _Kind("result store", "JTASK_RESULTS_URL", "jtask.results")


async def open_broker(url: str, client: str, results_url: str | None = None) -> Broker:
    """Connect to the broker at a URL; runs on the I/O loop.

    Args:
        url: The scheme names an entry point of the group `jtask.brokers`.
        client: This process's client id.
        results_url: Where outcomes are kept: the scheme names an entry point of the group
            `jtask.results`. None, or the same URL, is the broker itself.

    Raises:
        ConfigurationError: Nothing that is installed has the scheme.
        BrokerUnavailable: One of them cannot be reached.
    """
    loop = asyncio.get_running_loop()
    open_it: BrokerFactory = _find_factory(_BROKER, url)
    if results_url is None or results_url == url:
        return await open_it(url, client, loop)
    from jtask.client.separate_results import with_results

    open_store: ResultStoreFactory = _find_factory(_RESULT_STORE, results_url)
    broker = await open_it(url, client, loop)
    try:
        store = await open_store(results_url, client, loop)
    except BaseException as error:
        await broker.close()
        if isinstance(error, JTaskError):
            raise _of_the_store(error) from error
        raise
    return with_results(broker, store)


def without_credentials(urls: str) -> str:
    """Return the URL, or several with commas between, without user and password."""
    return _CREDENTIALS.sub(r"\1", urls)


def _of_the_store(error: JTaskError) -> JTaskError:
    """Return an error about a URL as one about the setting that it came from here."""
    said = str(error).replace(_BROKER.setting, _RESULT_STORE.setting)
    return type(error)(f"the {_RESULT_STORE.name}: {said}")


def _find_factory(kind: _Kind, url: str) -> Any:
    scheme, separator, _ = url.partition("://")
    points = {point.name: point for point in entry_points(group=kind.group)}
    known = ", ".join(f"{name}://" for name in sorted(points))
    if not separator:
        raise ConfigurationError(
            f"{kind.setting} is {without_credentials(url)!r}, which begins with no scheme; "
            f"known: {known}"
        )
    if scheme not in points:
        near = get_close_matches(scheme, points, n=1)
        hint = f"did you mean {near[0]}://...?" if near else "is its package installed?"
        raise ConfigurationError(
            f"{kind.setting} is {without_credentials(url)!r}: no {kind.name} has the scheme "
            f"{scheme!r} ({hint}); known: {known}"
        )
    try:
        return points[scheme].load()
    except ImportError as error:
        raise ConfigurationError(
            f"the {kind.name} for {scheme}:// ({points[scheme].value}) cannot be loaded: {error}"
        ) from error
