"""What every request passes before anything else: host, origin, caller, and headers of answers."""

from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jtask_console.access.callers import Access, Caller
from jtask_console.access.origins import problem_with_host, problem_with_origin

_OPEN = ("/login", "/static/")
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """An ASGI application around the console's: lets through who may, and says who that is.

    Args:
        app: What is asked in the end; finds a `Caller` under `caller` in the request's state.
        access: Who may.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(Headers(scope=scope).items())
        names = self._access.host_names
        problem = None if names is None else problem_with_host(headers, names)
        if problem is not None:
            return _error(421, problem)
        problem = problem_with_origin(scope["method"], headers)
        if problem is not None:
            return _error(403, problem)
        caller = self._access.caller(Request(scope))
        scope.setdefault("state", {})["caller"] = caller
        return None if self._is_open(scope) else self._refusal_of(scope, caller)

    def _refusal_of(self, scope: Scope, caller: Caller | None) -> Response | None:
        if caller is None:
            return self._login(scope)
        if scope["method"] not in ("GET", "HEAD") and not caller.may_act:
            return _error(403, f"{caller.name} may look at the console, but not act")
        return None

    def _login(self, scope: Scope) -> Response:
        request = Request(scope)
        accepted = request.headers.get("accept", "")
        # A stream would take the form for news of its page.
        is_page = "text/html" in accepted and "text/event-stream" not in accepted
        if is_page and scope["method"] == "GET" and self._access.has_tokens:
            root = scope.get("root_path", "")
            query = f"?{request.url.query}" if request.url.query else ""
            return RedirectResponse(f"{root}/login?next={quote(request.url.path + query)}", 303)
        answer = _error(401, "say who you are: send a token, or log in")
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    def _is_open(self, scope: Scope) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        return any(path == one or (one.endswith("/") and path.startswith(one)) for one in _OPEN)


def _error(status: int, problem: str) -> Response:
    return JSONResponse({"error": problem}, status)
