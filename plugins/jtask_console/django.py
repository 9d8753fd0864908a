"""The console in a project of Django's: `path("jtask/", include("jtask_console.django"))`.

It is answered on an event loop in a thread of its own, so it is the same under WSGI and ASGI.
Django says who somebody is: staff may look and act, unless the setting `JTASK_CONSOLE_AUTHORIZE`
names a function that says otherwise.
"""

import os
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from starlette.requests import Request
from starlette.types import Scope

from jtask.execution.loop_thread import LoopThread
from jtask_console.access.callers import Caller, Role, named_caller
from jtask_console.application import ConsoleApp
from jtask_console.exchange import Exchange, Head

AuthorizeDjango = Callable[[Any], Caller | Role | None]
"""Given Django's request, tells who it comes from, or only what they may do; None is a stranger."""

# Django says nothing of its types.
_asgi: Any = import_module("django.core.handlers.asgi")
_conf: Any = import_module("django.conf")
_exceptions: Any = import_module("django.core.exceptions")
_http: Any = import_module("django.http")
_loading: Any = import_module("django.utils.module_loading")
_sync: Any = import_module("asgiref.sync")
_urls: Any = import_module("django.urls")

_CALLER = "jtask_caller"
_STREAM = "text/event-stream"
# A thread hears that its browser has gone when it sends something: it should not wait long.
_SILENCE = 2.0  # seconds
_SIGN_OF_LIFE = b": still here\n\n"
_OUR_OWN = frozenset({"content-type", "content-length", "set-cookie"})


def staff(request: Any) -> Caller | None:
    """Let staff look and act, as Django's own administration does, and nobody else."""
    user = getattr(request, "user", None)  # there is none without Django's middleware for it
    if user is None or not (user.is_active and user.is_staff):
        return None
    return Caller(str(user.get_username()), Role.OPERATOR)


class _Served:
    """The console of this process and its loop, made when they are first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: tuple[LoopThread, ConsoleApp] | None = None

    def parts(self) -> tuple[LoopThread, ConsoleApp]:
        with self._lock:
            if self._parts is None:
                app = ConsoleApp(authorize=_caller_in, is_mounted=True)
                self._parts = LoopThread("jtask-console"), app
            return self._parts


_served = _Served()


def _forget() -> None:
    # A thread is not in the child, and connections are the parent's.
    global _served
    _served = _Served()


os.register_at_fork(after_in_child=_forget)


async def console(request: Any, path: str) -> Any:
    """Answer a request: a view of Django's."""
    thread, app = _served.parts()
    caller = await _sync.sync_to_async(_caller)(request)
    exchange = Exchange(app, _scope(request, path, caller), request.body)
    head = await thread.bridge(exchange.begin())
    if head.get("content-type").startswith(_STREAM):
        return _streamed(request, head, thread, exchange)
    body = await thread.bridge(exchange.rest())
    if head.status == 401 and _is_page(request):
        return await _sync.sync_to_async(_to_login)(request)
    answer = _http.HttpResponse(
        body, status=head.status, content_type=head.get("content-type") or None
    )
    return _with_headers(answer, head)


# Forms of other sites are refused by what browsers say of their origin, see `access.origins`.
cast("Any", console).csrf_exempt = True

app_name = "jtask_console"
urlpatterns = [_urls.re_path(r"^(?P<path>.*)$", console, name="console")]


class _Stream:
    """What comes of an answer bit by bit, for a server of either kind."""

    def __init__(self, thread: LoopThread, exchange: Exchange) -> None:
        self._thread = thread
        self._exchange = exchange

    def close(self) -> None:
        self._thread.loop.call_soon_threadsafe(self._exchange.close)


class _PlainStream(_Stream):
    def __iter__(self) -> "_PlainStream":
        return self

    def __next__(self) -> bytes:
        chunk = self._thread.run(self._exchange.next_chunk(_SILENCE))
        if chunk is None:
            raise StopIteration
        return chunk or _SIGN_OF_LIFE


class _AsyncStream(_Stream):
    def __aiter__(self) -> "_AsyncStream":
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._thread.bridge(self._exchange.next_chunk())
        except BaseException:
            self.close()  # cancelled, for the browser has gone
            raise
        if chunk is None:
            raise StopAsyncIteration
        return chunk


def _streamed(request: Any, head: Head, thread: LoopThread, exchange: Exchange) -> Any:
    kind = _AsyncStream if isinstance(request, _asgi.ASGIRequest) else _PlainStream
    answer = _http.StreamingHttpResponse(
        kind(thread, exchange), status=head.status, content_type=head.get("content-type")
    )
    # Or Django's GZipMiddleware would hold events back until there are enough to be packed.
    answer["Content-Encoding"] = "identity"
    return _with_headers(answer, head)


def _with_headers(answer: Any, head: Head) -> Any:
    for name, value in head.headers:
        if name == "set-cookie":
            answer.cookies.load(value)
        elif name not in _OUR_OWN:
            answer[name] = value
    return answer


def _scope(request: Any, path: str, caller: Caller | None) -> Scope:
    meta = request.META
    headers = {name.lower(): value for name, value in request.headers.items()}
    # As Django has it, which knows whether a proxy in front is to be believed.
    headers["host"] = request.get_host()
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "root_path": request.path[: len(request.path) - len(path)].rstrip("/"),
        "query_string": meta.get("QUERY_STRING", "").encode("latin-1"),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": (meta.get("REMOTE_ADDR") or "", 0),
        "server": (meta.get("SERVER_NAME") or "", int(meta.get("SERVER_PORT") or 0)),
        "state": {},
        # An open page would have the whole process of a server with one request at a time.
        "jtask_streams": meta.get("wsgi.multithread", True),
        _CALLER: caller,
    }


def _caller(request: Any) -> Caller | None:
    found = getattr(_conf.settings, "JTASK_CONSOLE_AUTHORIZE", None) or staff
    authorize = _loading.import_string(found) if isinstance(found, str) else found
    return named_caller(cast("AuthorizeDjango", authorize)(request))


def _caller_in(request: Request) -> Caller | None:
    return cast("Caller | None", request.scope[_CALLER])


def _is_page(request: Any) -> bool:
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def _to_login(request: Any) -> Any:
    """Answer a stranger as Django's own pages do."""
    user = getattr(request, "user", None)
    # Somebody who has logged in would be sent back here for ever.
    if user is None or user.is_authenticated:
        raise _exceptions.PermissionDenied
    views: Any = import_module("django.contrib.auth.views")
    return views.redirect_to_login(request.get_full_path())
