"""The routes of `/api`."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, cast

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from jtask.errors import ArgumentError, FilterError, IndexUnavailable, JTaskError, RunNotFound
from jtask_console.access.forms import body_of
from jtask_console.actions.action import Given
from jtask_console.actions.operations import AnyAction, Operations, Performed
from jtask_console.api.endpoints import ENDPOINTS, Endpoint
from jtask_console.api.openapi import description
from jtask_console.pages.page import Asked

_LONGEST = 1 << 20  # bytes


def api_routes(
    asked_by: Callable[[Request], Asked], operations: Operations, actions: Sequence[AnyAction]
) -> Mount:
    """Return everything below `/api`.

    Args:
        asked_by: Tells what a request asks for.
        operations: Performs actions.
        actions: What can be done.
    """

    async def ask(endpoint: Endpoint, request: Request) -> Response:
        try:
            return _json(await endpoint.answer(asked_by(request)))
        except JTaskError as error:
            return problem(error)

    async def act(action: AnyAction, request: Request) -> Response:
        try:
            operation = await operations.start(action, await _given(request))
        except JTaskError as error:
            return problem(error)
        return _json(_facts(operation), 200 if operation.is_over.is_set() else 202)

    async def current(request: Request) -> Response:
        try:
            return _json(_facts(await operations.find(request.path_params["operation_id"])))
        except IndexUnavailable as error:
            return problem(error)
        except JTaskError as error:
            return _json({"error": str(error)}, 404)

    async def describe(request: Request) -> Response:
        root = str(request.scope.get("root_path", ""))
        return _json(description(ENDPOINTS, actions, root, version("jtask")))

    async def unknown(request: Request) -> Response:
        return _json({"error": f"there is no {request.url.path}: see /api/openapi.json"}, 404)

    return Mount(
        "/api",
        routes=[
            *(Route(one.path, partial(ask, one)) for one in ENDPOINTS),
            *(Route(one.path, partial(act, one), methods=["POST"]) for one in actions),
            Route("/operations/{operation_id}", current),
            Route("/openapi.json", describe),
            Route("/{path:path}", unknown),
        ],
    )


def problem(error: JTaskError) -> Response:
    """Answer with the sentence of an error."""
    if isinstance(error, RunNotFound):
        return _json({"error": str(error)}, 404)
    is_theirs = isinstance(error, FilterError | ArgumentError)
    return _json({"error": str(error)}, 400 if is_theirs else 503)


async def _given(request: Request) -> Given:
    found = _object(await body_of(request, _LONGEST))
    runs = found.pop("runs", [])
    if not isinstance(runs, list):
        raise FilterError("runs must be a list of ids")
    values = {name: it if isinstance(it, str) else json.dumps(it) for name, it in found.items()}
    if not runs and "filter" in values:
        values["all"] = "1"
    ids = tuple(dict.fromkeys(map(str, cast("list[object]", runs))))
    return Given(values | dict(request.path_params), request.state.caller.name, ids)


def _object(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FilterError(f"the request is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise FilterError("the request must be a JSON object")
    return cast("dict[str, Any]", found)


def _facts(operation: Performed) -> dict[str, Any]:
    return {
        "operation_id": operation.entry.operation_id,
        "kind": operation.entry.kind,
        "who": operation.entry.who,
        "target": operation.entry.filter,
        "done": operation.done,
        "total": operation.total,
        "over": operation.is_over.is_set(),
        "failed": operation.failed,
        "said": operation.said,
    }


def _json(facts: dict[str, Any], status: int = 200) -> Response:
    return Response(to_json(facts), status, media_type="application/json")
