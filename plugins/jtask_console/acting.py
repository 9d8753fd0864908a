"""Forms that people send: each performs an action and goes back to where it came from."""

from collections.abc import Sequence
from functools import partial
from urllib.parse import quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from jtask.errors import JTaskError
from jtask_console.access.forms import fields_of
from jtask_console.actions import dead_letters, queues, runs, schedules
from jtask_console.actions.action import Given
from jtask_console.actions.operations import AnyAction, Operations

ACTIONS: Sequence[AnyAction] = (
    *runs.ACTIONS,
    *queues.ACTIONS,
    *schedules.ACTIONS,
    *dead_letters.ACTIONS,
)
SAID = "jtask_console_said"
"""The cookie with the sentence that the next page says, once."""

_LONGEST = 1 << 20  # bytes of a form: thousands of selected runs, or arguments
_SAID_SECONDS = 30
_MOST_SAID = 500  # characters


def action_routes(operations: Operations, actions: Sequence[AnyAction]) -> list[Route]:
    """Return a route for each action.

    Args:
        operations: Performs them.
        actions: Which.
    """

    async def act(action: AnyAction, request: Request) -> Response:
        given = await given_by(request)
        try:
            operation = await operations.start(action, given)
        except JTaskError as error:
            return back(request, given["back"], str(error))
        if not operation.is_over.is_set():
            said = f"{action.kind.capitalize()}: this goes on in the background."
            return back(request, "/audit", said)
        return back(request, given["back"], operation.said)

    return [Route(one.path, partial(act, one), methods=["POST"]) for one in actions]


async def given_by(request: Request) -> Given:
    """Return what a form says, and the parts of its address that have names."""
    fields = await fields_of(request, _LONGEST)
    runs = tuple(dict.fromkeys(value for name, value in fields if name == "run"))
    values = dict(fields) | dict(request.path_params)
    return Given(values, request.state.caller.name, runs)


def back(request: Request, path: str, said: str) -> Response:
    """Answer with the page that a form was on, which then says a sentence.

    Args:
        request: The form.
        path: Where to go instead, within the console; empty for that page.
        said: The sentence.
    """
    root: str = request.scope.get("root_path", "")
    where = f"{root}{path}" if path.startswith("/") and not path.startswith("//") else ""
    answer = RedirectResponse(where or _origin(request, root), 303)
    answer.set_cookie(
        SAID,
        quote(said[:_MOST_SAID]),
        max_age=_SAID_SECONDS,
        path=root or "/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


def said_to(request: Request) -> str:
    """Return the sentence that the page after a form says."""
    return unquote(request.cookies.get(SAID, ""))[:_MOST_SAID]


def _origin(request: Request, root: str) -> str:
    parts = urlsplit(request.headers.get("referer", ""))
    if parts.netloc != request.headers.get("host") or not parts.path.startswith(f"{root}/"):
        return f"{root}/"
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
