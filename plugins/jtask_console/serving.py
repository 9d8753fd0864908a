"""Pages as answers: whole ones, and the streams that keep them up to date."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from jtask.errors import FilterError, JTaskError, RunNotFound
from jtask_console.acting import SAID, said_to
from jtask_console.live.hub import Hub
from jtask_console.live.stream import digest, event_stream, id_of
from jtask_console.pages.page import Asked, Facts, Page
from jtask_console.rendering import page_html, part_html
from jtask_console.settings import ConsoleSettings
from jtask_console.threaded_index import ThreadedIndex

LIVE = "/live"
"""What the address of a page's stream begins with."""


class Section(NamedTuple):
    """An entry of the navigation."""

    name: str
    title: str
    path: str
    icon: str


SECTIONS = (
    Section("overview", "Overview", "/", "home"),
    Section("runs", "Runs", "/runs", "runs"),
    Section("failures", "Failures", "/failures", "failures"),
    Section("queues", "Queues", "/queues", "queues"),
    Section("workers", "Workers", "/workers", "workers"),
    Section("schedules", "Schedules", "/schedules", "schedules"),
    Section("limits", "Limits", "/limits", "limits"),
    Section("dead-letters", "Dead letters", "/dead-letters", "dead"),
    Section("audit", "Audit log", "/audit", "audit"),
)


@dataclass(frozen=True, slots=True)
class PageServer:
    """Answers with pages.

    Attributes:
        hub: Tells open pages of news.
        trouble: Tells why none is heard of the broker; empty while all is well.
        index: Where runs are found.
        settings: Those of the console.
        broker: What people read of where the broker is.
        sections: The navigation.
        can_log_out: Whether people log in here.
    """

    hub: Hub
    trouble: Callable[[], str]
    index: ThreadedIndex
    settings: ConsoleSettings
    broker: str
    sections: tuple[Section, ...]
    can_log_out: bool

    async def show(self, page: Page, request: Request) -> Response:
        """Answer with a whole page."""
        asked = self.asked(request)
        try:
            facts = await page.facts(asked)
        except JTaskError as error:
            return self.problem(request, error)
        common = self.common(request)
        query = f"?{request.url.query}" if request.url.query else ""
        path = request.url.path.removeprefix(common["root"])
        if page.parts and request.scope.get("jtask_streams", True):
            parts = _parts(page, common | facts)
            seen = id_of({name: digest(html) for name, html in parts.items()})
            separator = "&" if query else "?"
            common["live"] = f"{common['root']}{LIVE}{path}{query}{separator}seen={seen}"
        answer = HTMLResponse(page_html(page.template, common | facts))
        if common["said"]:
            # It is said once.
            answer.delete_cookie(SAID, path=common["root"] or "/", httponly=True, samesite="strict")
        return answer

    async def stream(self, page: Page, request: Request) -> Response:
        """Answer with what changes of a page, for as long as it is open."""
        asked, common = self.asked(request), self.common(request)

        async def render() -> Mapping[str, str]:
            return _parts(page, common | await page.facts(asked))

        seen = request.headers.get("last-event-id") or asked.query.get("seen", "")
        events = event_stream(
            self.hub, page.topics(asked), render, self.trouble, seen, page.hearing(asked)
        )
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    def asked(self, request: Request) -> Asked:
        """Return what a request asks for."""
        caller, path = request.state.caller, request.path_params
        return Asked(caller, request.query_params, self.index, self.settings, path)

    def problem(self, request: Request, error: JTaskError) -> Response:
        """Answer with the sentence of an error."""
        status = 404 if isinstance(error, RunNotFound) else 503
        if isinstance(error, FilterError):
            status = 400
        facts = self.common(request) | {"title": _TITLES[status], "problem": str(error)}
        return HTMLResponse(page_html("problem.html", facts), status)

    def common(self, request: Request) -> Facts:
        """Return what every page has."""
        caller = request.state.caller
        return {
            "root": request.scope.get("root_path", ""),
            "navigation": self.sections,
            "section": "",
            "title": "Console",
            "broker": self.broker,
            "caller": caller,
            "can_log_out": self.can_log_out,
            "live": "",
            "said": said_to(request),
        }


_TITLES = {400: "This filter cannot be read", 404: "Not found", 503: "Not available at the moment"}


def _parts(page: Page, facts: Facts) -> dict[str, str]:
    return {name: part_html(page.template, name, facts) for name in page.parts}
