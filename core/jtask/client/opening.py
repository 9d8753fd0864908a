"""Find the broker that a URL names, and the result store where that is another one."""

import asyncio
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from jtask.client.separate_parts import compose
from jtask.close_names import close_names
from jtask.contract import Broker, BrokerFactory, PartFactory, SeparatePart, is_in_process
from jtask.contract.reach import is_child
from jtask.errors import ConfigurationError, JTaskError, reworded

# Users and passwords of all URLs: commas part those of several servers.
_CREDENTIALS = re.compile(r"(^|//|,)[^/@,]+@")


class _Kind(NamedTuple):
    """What can be found by a URL's scheme."""

    name: str
    setting: str
    group: str


_BROKER = _Kind("broker", "JTASK_URL", "jtask.brokers")


def _kind_of(part: str) -> _Kind:
    name = "result store" if part == "results" else part.replace("_", " ")
    return _Kind(name, f"JTASK_{part.upper()}_URL", f"jtask.{part}")


async def open_broker(url: str, client: str, parts: Mapping[str, str] | None = None) -> Broker:
    """Connect to the broker at a URL; runs on the I/O loop.

    Args:
        url: The scheme names an entry point of the group `jtask.brokers`.
        client: This process's client id.
        parts: URLs of the parts that are kept elsewhere, by name: the scheme names an entry point
            of the group `jtask.<part>`, or a broker that lends its part. The same URL as the
            broker's is the broker itself.

    Raises:
        ConfigurationError: Nothing that is installed has the scheme.
        BrokerUnavailable: One of them cannot be reached.
    """
    loop = asyncio.get_running_loop()
    open_it: BrokerFactory = _find_factory(_BROKER, url)
    if is_child() and is_in_process(open_it):
        raise ConfigurationError(
            f"JTASK_URL is {without_credentials(url)!r}, a broker inside another process, of which "
            "this one is a child: a run with isolation='process' needs a broker that both reach, "
            "such as embedded://, or the fixture jtask_nats in a test"
        )
    separate = {part: at for part, at in (parts or {}).items() if at != url}
    # All are found before anything is opened: a misspelt scheme leaves no connection behind.
    factories = {part: _find_part_factory(part, at) for part, at in separate.items()}
    broker = await open_it(url, client, loop)
    opened: dict[str, Any] = {}
    try:
        for part, factory in factories.items():
            opened[part] = await _open_part(part, factory, separate[part], client)
    except BaseException:
        for part in opened.values():
            await part.close()
        await broker.close()
        raise
    return compose(broker, opened)


async def _open_part(part: str, factory: PartFactory, url: str, client: str) -> Any:
    try:
        return await factory(url, client, asyncio.get_running_loop())
    except JTaskError as error:
        raise _about_the_part(_kind_of(part), error) from error


def _find_part_factory(part: str, url: str) -> PartFactory:
    """Return what opens a part: a store of that kind, or else a whole broker that lends it."""
    kind = _kind_of(part)
    scheme = url.partition("://")[0]
    stores, brokers = _schemes(kind), _schemes(_BROKER)
    if scheme in stores or scheme not in brokers:
        factory: PartFactory = _find_factory(kind, url)
        return factory
    open_it: BrokerFactory = _find_factory(_BROKER, url)

    async def borrow(url: str, client: str, loop: asyncio.AbstractEventLoop) -> SeparatePart:
        return SeparatePart(await open_it(url, client, loop), part)

    return borrow


def find_unshared(url: str) -> str | None:
    """Return the scheme of a URL if no other process can reach what the URL names, else None.

    Raises:
        ConfigurationError: Nothing that is installed has the scheme.
    """
    return url.partition("://")[0] if is_in_process(_find_factory(_BROKER, url)) else None


def without_credentials(urls: str) -> str:
    """Return the URL, or several with commas between, without user and password."""
    return _CREDENTIALS.sub(r"\1", urls)


def _about_the_part(kind: _Kind, error: JTaskError) -> JTaskError:
    """Return an error about a URL as one about the setting that it came from here."""
    said = str(error).replace(_BROKER.setting, kind.setting)
    return reworded(error, f"the {kind.name}: {said}")


def _schemes(kind: _Kind) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=kind.group)}


def _find_factory(kind: _Kind, url: str) -> Any:
    scheme, separator, _ = url.partition("://")
    points = _schemes(kind) if kind is _BROKER else _schemes(_BROKER) | _schemes(kind)
    known = ", ".join(f"{name}://" for name in sorted(points))
    if not separator:
        raise ConfigurationError(
            f"{kind.setting} is {without_credentials(url)!r}, which has no scheme; known: {known}"
        )
    if scheme not in points:
        near = close_names(scheme, points)
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
