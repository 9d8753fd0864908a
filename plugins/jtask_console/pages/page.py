"""What a page is: facts, a template, and the parts of it that change while somebody looks."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import QueryParams

from jtask_console.access.callers import Caller
from jtask_console.settings import ConsoleSettings
from jtask_console.threaded_index import ThreadedIndex

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to see.

    Attributes:
        caller: Who asks.
        query: The filter, as it is in the address.
        index: Where runs are found.
        settings: Those of the console.
        path: The parts of the address that the page's path names.
        kept: What a page keeps from one look to the next, while it is open.
    """

    caller: Caller
    query: QueryParams
    index: ThreadedIndex
    settings: ConsoleSettings
    path: Mapping[str, str] = field(default_factory=dict[str, str])
    kept: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the console.

    Attributes:
        path: Its address, as Starlette writes one.
        template: The name of its file.
        facts: Finds what it shows.
        topics: What it is about: it is looked at again when there is news of one of them.
        parts: The blocks of its template that may change; each is an element with that id.
        hear: Stands while the page is open, and tells the function that it is given of news that
            the event log does not have.
    """

    path: str
    template: str
    facts: Callable[[Asked], Awaitable[Facts]]
    topics: Callable[[Asked], frozenset[str]]
    parts: tuple[str, ...] = ()
    hear: Callable[[Asked, Callable[[], None]], AbstractAsyncContextManager[None]] | None = None

    def hearing(self, asked: Asked) -> "Hearing":
        """Return what stands while the page is open, see `hear`."""
        hear = self.hear
        return (lambda _: nullcontext()) if hear is None else (lambda tell: hear(asked, tell))


Hearing = Callable[[Callable[[], None]], AbstractAsyncContextManager[None]]


def always(*topics: str) -> Callable[[Asked], frozenset[str]]:
    """Return `Page.topics` for a page that is about the same whatever is asked."""
    fixed = frozenset(topics)
    return lambda _: fixed
