"""The stream to one browser: server-sent events, each with the parts of a page that have changed.

The id of an event names the parts that the browser then has. A browser that comes back says the id
of the last one that it got, and is sent the parts that are different now: what it has missed.

Besides, a browser is told whether what it shows is so: `live` after each look and now and then,
`stuck` with a sentence while broker or index do not answer. A browser that hears neither for a
while knows that the connection is dead.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from html import escape

from jtask.errors import JTaskError
from jtask_console.live.hub import Hub, Watcher

_INTERVAL = 0.25  # seconds between two looks, however much happens
_SHARE = 4  # a page that takes long to make rests so many times as long before the next look
# Seconds after which a sign of life is sent; `console.js` waits for two of them, and proxies end
# streams that are silent for longer.
_SILENCE = 15.0
# Seconds after which a browser has to come back, and is asked again who it is.
_LIFETIME = 900.0
_LIVE = "event: live\ndata:\n\n"

Parts = Mapping[str, str]
"""The parts of a page as HTML, by the ids of their elements."""


async def event_stream(
    hub: Hub,
    topics: frozenset[str],
    render: Callable[[], Awaitable[Parts]],
    trouble: Callable[[], str],
    seen: str,
    hearing: Callable[[Callable[[], None]], AbstractAsyncContextManager[None]],
) -> AsyncIterator[str]:
    """Yield what to send to a browser while its page is open.

    One thing is made at a time, and the next one only when the browser has taken it.

    Args:
        hub: Tells of news.
        topics: What the page is about.
        render: Makes its parts; raises what broker or index say that do not answer.
        trouble: Tells why nothing is heard of the broker; empty while all is well.
        seen: The id of what the browser has.
        hearing: Stands while the page is open; tells a function, on any thread, of other news.
    """
    loop = asyncio.get_running_loop()
    async with hub.watching(topics) as watcher:

        def tell() -> None:
            loop.call_soon_threadsafe(watcher.notify)

        async with hearing(tell):
            # At once, so that the browser knows that it is connected.
            yield ": here\n\n"
            async for event in _events(watcher, _Looker(render, trouble, read_id(seen))):
                yield event


class _Looker:
    """Looks at a page, and tells what its browser has to know of that.

    Args:
        render: See `event_stream`.
        trouble: Likewise.
        known: The parts that the browser has.
    """

    def __init__(
        self,
        render: Callable[[], Awaitable[Parts]],
        trouble: Callable[[], str],
        known: dict[str, str],
    ) -> None:
        self._render = render
        self._trouble = trouble
        self._known = known
        self.is_stuck = False

    async def look(self) -> str:
        """Return the event that there is after a look."""
        try:
            parts = await self._render()
        except JTaskError as error:
            # The page stays as it is until broker and index answer again.
            self.is_stuck = True
            return stuck(str(error))
        self.is_stuck = False
        now = {name: digest(html) for name, html in parts.items()}
        changed = {name: parts[name] for name in parts if self._known.get(name) != now[name]}
        self._known = now
        return (message(changed, now) if changed else "") + self.sign()

    def sign(self) -> str:
        """Return the event that says how the page stands, when there was nothing to look at."""
        problem = self._trouble()
        return stuck(problem) if problem else _LIVE


async def _events(watcher: Watcher, looker: _Looker) -> AsyncIterator[str]:
    ends = time.monotonic() + _LIFETIME
    while not watcher.is_closing and time.monotonic() < ends:
        watcher.look()
        began = time.monotonic()
        yield await looker.look()
        took = time.monotonic() - began
        await asyncio.sleep(min(max(_INTERVAL, _SHARE * took), _SILENCE))
        # What is stuck is looked at again although there is no news.
        while not await watcher.changed(_SILENCE) and not looker.is_stuck:
            if time.monotonic() >= ends:
                return
            yield looker.sign()


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


def stuck(problem: str) -> str:
    """Return an event that says why what a browser shows may not be so any more."""
    return f"event: stuck\ndata: {' '.join(problem.split())}\n\n"
