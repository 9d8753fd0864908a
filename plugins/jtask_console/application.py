"""The console as an ASGI application."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from jtask.client import get_client
from jtask.errors import JTaskError
from jtask.settings import get_settings, settings_of
from jtask_console.access.callers import Access, Authorize
from jtask_console.access.guard import Guard
from jtask_console.access.login import login_routes
from jtask_console.acting import ACTIONS, action_routes
from jtask_console.actions.operations import Operations
from jtask_console.api.routes import api_routes
from jtask_console.live.feed import Feed
from jtask_console.pages import (
    dead_letters,
    failures,
    limits,
    overview,
    queues,
    rerun,
    run,
    runs,
    schedules,
    workers,
)
from jtask_console.pages.audit import audit_page
from jtask_console.pages.page import Page
from jtask_console.serving import LIVE, SECTIONS, PageServer
from jtask_console.settings import ConsoleSettings
from jtask_console.threaded_index import ThreadedIndex
from jtask_index.follower import Follower
from jtask_index.opening import open_follower

PAGES = (
    overview.PAGE,
    runs.PAGE,
    rerun.PAGE,
    run.PAGE,
    failures.PAGE,
    queues.PAGE,
    workers.PAGE,
    schedules.PAGE,
    limits.PAGE,
    dead_letters.PAGE,
)
_log = logging.getLogger("jtask.console")
_STATIC = Path(__file__).parent / "static"


class ConsoleApp:
    """The console, to be served alone or mounted in another application.

    Args:
        settings: Those in force when not given.
        authorize: Tells of those whom the settings do not know.
        is_mounted: Whether it is part of another application, which has an address of its own.

    Raises:
        ConfigurationError: Strangers would reach it, and be asked for nothing.
    """

    def __init__(
        self,
        settings: ConsoleSettings | None = None,
        authorize: Authorize | None = None,
        *,
        is_mounted: bool = False,
    ) -> None:
        self.settings = settings or settings_of(ConsoleSettings)
        self.access = Access(self.settings, authorize, is_mounted=is_mounted)
        self.index = ThreadedIndex()
        self.feed = Feed(self.index)
        self.operations = Operations(self.index, self.feed.hub.tell)
        self._follower: Follower | None = None
        self._app: ASGIApp | None = None
        self._starting = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the first one connects to the broker."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._app is None:
            try:
                async with self._starting:
                    await self._start()
            except JTaskError as error:
                _log.error("the console cannot be served: %s", error)
                # Nobody has been asked yet who they are.
                answer = PlainTextResponse("the console cannot be served: see its log", 503)
                await answer(scope, receive, send)
                return
        assert self._app is not None
        await self._app(scope, receive, send)

    def release(self) -> None:
        """Let all open pages go, so that a server that waits for them can end."""
        self.feed.close()

    def close(self) -> None:
        """Stop following the event log."""
        self.release()
        self.operations.close()
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.stop()
        self.index.close()

    async def _start(self) -> None:
        if self._app is not None:
            return
        # In a thread: it may have to connect, and to make tables.
        self._follower = await asyncio.to_thread(open_follower, on_change=self.feed.hear)
        threading.Thread(target=self._follower.run, name="jtask-index", daemon=True).start()
        self._app = Guard(self._starlette(), self.access)
        if not self.settings.console_read_only:
            self.operations.start_taking_over(ACTIONS)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.close()
        await send({"type": "lifespan.shutdown.complete"})

    def _starlette(self) -> Starlette:
        client = get_client()
        pages = PageServer(
            hub=self.feed.hub,
            trouble=lambda: self.feed.liveness.trouble,
            index=self.index,
            settings=self.settings,
            broker=f"{client.broker.url} · {get_settings().namespace}",
            sections=SECTIONS,
            can_log_out=self.access.has_tokens,
        )
        routes: list[BaseRoute] = [
            Mount("/static", _Files(directory=_STATIC), name="static"),
            *login_routes(self.access),
            api_routes(pages.asked, self.operations, ACTIONS),
            *action_routes(self.operations, ACTIONS),
            *_page_routes(PAGES, pages),
            *_page_routes([audit_page(self.operations)], pages),
        ]
        return Starlette(routes=routes)


class _Files(StaticFiles):
    """Files that a browser keeps, and asks whether they are still the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def _page_routes(pages: Sequence[Page], server: PageServer) -> list[Route]:
    routes: list[Route] = []
    for page in pages:
        routes.append(Route(page.path, _endpoint(server.show, page)))
        if page.parts:
            routes.append(Route(LIVE + page.path, _endpoint(server.stream, page)))
    return routes


def _endpoint(
    answer: Callable[[Page, Request], Awaitable[Response]], page: Page
) -> Callable[[Request], Awaitable[Response]]:
    return partial(answer, page)
