"""Log in with a token, and out."""

from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from jtask_console.access.callers import Access
from jtask_console.access.forms import fields_of
from jtask_console.access.sessions import COOKIE, LIFETIME
from jtask_console.rendering import page_html

_LONGEST = 4096  # bytes of a form


def login_routes(access: Access) -> list[Route]:
    """Return the routes of logging in and out.

    Args:
        access: Knows the tokens.
    """

    def form(request: Request, problem: str, status: int = 200) -> Response:
        facts = {
            "root": request.scope.get("root_path", ""),
            "problem": problem,
            "next": _own_path(request, request.query_params.get("next", "")),
        }
        return HTMLResponse(page_html("login.html", facts), status)

    async def login(request: Request) -> Response:
        if request.method == "GET":
            return form(request, "")
        given = dict(await fields_of(request, _LONGEST))
        role = access.role_of(given.get("token", ""))
        if role is None:
            return form(request, "That is not the token of this console.", 403)
        answer = RedirectResponse(_own_path(request, given.get("next", "")), 303)
        answer.set_cookie(
            COOKIE,
            access.sessions.value_for(role),
            max_age=LIFETIME,
            path=request.scope.get("root_path", "") or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    async def logout(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        answer = RedirectResponse(f"{root}/login", 303)
        answer.delete_cookie(COOKIE, path=root or "/", httponly=True, samesite="strict")
        return answer

    return [
        Route("/login", login, methods=["GET", "POST"]),
        Route("/logout", logout, methods=["GET"]),
    ]


def _own_path(request: Request, wanted: str) -> str:
    """Return where to go on: a path of the console, wherever a link says to go."""
    root: str = request.scope.get("root_path", "")
    parts = urlsplit(wanted)
    is_own = not parts.netloc and not parts.scheme and wanted.startswith(f"{root}/")
    # Browsers read a backslash as a slash, and `//host` as another site.
    return wanted if is_own and "\\" not in wanted and not wanted.startswith("//") else f"{root}/"
