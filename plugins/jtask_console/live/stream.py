"""The stream to one browser: server-sent events, each with the parts of a page that have changed.

The id of an event names the parts that the browser then has. A browser that comes back says the id
of the last one that it got, and is sent the parts that are different now: what it has missed.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from html import escape

from jtask_console.live.hub import Hub, Watcher

_INTERVAL = 0.25  # seconds between two looks, however much happens
_SHARE = 4  # a page that takes long to make rests so many times as long before the next look
_SILENCE = 15.0  # seconds after which a sign of life is sent, for proxies that end silent streams

Parts = Mapping[str, str]
"""The parts of a page as HTML, by the ids of their elements."""


async def event_stream(
    hub: Hub,
    topics: frozenset[str],
    render: Callable[[], Awaitable[Parts]],
    seen: str,
    hearing: Callable[[Callable[[], None]], AbstractAsyncContextManager[None]],
) -> AsyncIterator[str]:
    """Yield what to send to a browser while its page is open.

    One thing is made at a time, and the next one only when the browser has taken it.

    Args:
        hub: Tells of news.
        topics: What the page is about.
        render: Makes its parts.
        seen: The id of what the browser has.
        hearing: Stands while the page is open; tells a function, on any thread, of other news.
    """
    loop = asyncio.get_running_loop()
    async with hub.watching(topics) as watcher:

        def tell() -> None:
            loop.call_soon_threadsafe(watcher.notify)

        async with hearing(tell):
            async for event in _events(watcher, render, read_id(seen)):
                yield event


async def _events(
    watcher: Watcher, render: Callable[[], Awaitable[Parts]], known: dict[str, str]
) -> AsyncIterator[str]:
    # At once, so that the browser knows that it is connected.
    yield ": here\n\n"
    while not watcher.is_closing:
        watcher.look()
        began = time.monotonic()
        parts = await render()
        now = {name: digest(html) for name, html in parts.items()}
        changed = [name for name in parts if known.get(name) != now[name]]
        if changed:
            yield message({name: parts[name] for name in changed}, now)
        known = now
        took = time.monotonic() - began
        await asyncio.sleep(max(_INTERVAL, _SHARE * took))
        while not await watcher.changed(_SILENCE):
            yield ": still here\n\n"


def digest(html: str) -> str:
    """Return a few letters that tell one state of a part from another."""
    return hashlib.blake2b(html.encode(), digest_size=6).hexdigest()


def id_of(parts: Mapping[str, str]) -> str:
    """Return the id of an event after which a browser has some parts, by their digests."""
    return ",".join(f"{name}:{value}" for name, value in parts.items())


def read_id(text: str) -> dict[str, str]:
    """Return which parts a browser has; whatever it says, a part it has not is only sent again."""
    pairs = (one.partition(":") for one in text.split(","))
    return {name: value for name, _, value in pairs if value}


def message(parts: Parts, now: Mapping[str, str]) -> str:
    """Return an event that puts parts in the place of those that a page has."""
    html = "".join(
        f'<hx-partial hx-target="#{escape(name)}" hx-swap="outerMorph">{part}</hx-partial>'
        for name, part in parts.items()
    )
    data = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"id: {id_of(now)}\n{data}\n"
