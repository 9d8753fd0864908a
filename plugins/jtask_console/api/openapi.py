"""What `/api` is, as OpenAPI has it. No I/O."""

import re
from collections.abc import Sequence
from typing import Any

from jtask_console.actions.operations import AnyAction
from jtask_console.api.endpoints import Endpoint

_LISTS = frozenset({"state", "task", "queue", "worker", "tag", "parent", "where"})
_NUMBERS = frozenset({"limit", "buckets"})
_PATH = re.compile(r"{(\w+)}")
_PROBLEM: dict[str, Any] = {
    "description": "It cannot be done; `error` says why in one sentence.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def description(
    endpoints: Sequence[Endpoint], actions: Sequence[AnyAction], root: str, version: str
) -> dict[str, Any]:
    """Return the document.

    Args:
        endpoints: What can be asked.
        actions: What can be done.
        root: Where the API is.
        version: Of jtask.
    """
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths[endpoint.path] = {"get": _asked(endpoint)}
    for action in actions:
        paths.setdefault(action.path, {})["post"] = _done(action)
    return {
        "openapi": "3.1.0",
        "info": {"title": "jtask console", "version": version},
        "servers": [{"url": root}],
        "security": [{"token": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": _object(error="string"), "Operation": _OPERATION},
        },
    }


def _asked(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "summary": endpoint.said,
        "parameters": [*_path_parameters(endpoint.path), *map(_parameter, endpoint.parameters)],
        "responses": {
            "200": {
                "description": endpoint.said,
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            "default": _PROBLEM,
        },
    }


def _done(action: AnyAction) -> dict[str, Any]:
    operation = {"schema": {"$ref": "#/components/schemas/Operation"}}
    return {
        "summary": f"{action.kind.capitalize()}.",
        "parameters": _path_parameters(action.path),
        "requestBody": {"content": {"application/json": {"schema": _GIVEN}}},
        "responses": {
            "200": {"description": "It is done.", "content": {"application/json": operation}},
            "202": {"description": "It goes on.", "content": {"application/json": operation}},
            "default": _PROBLEM,
        },
    }


def _path_parameters(path: str) -> list[dict[str, Any]]:
    text = {"type": "string"}
    return [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in _PATH.findall(path)
    ]


def _parameter(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer" if name in _NUMBERS else "string"}
    if name in _LISTS:
        schema = {"type": "array", "items": schema}
    return {"name": name, "in": "query", "schema": schema}


def _object(**kinds: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in kinds.items()}}


_OPERATION = _object(
    operation_id="string",
    kind="string",
    who="string",
    target="string",
    done="integer",
    total="integer",
    over="boolean",
    failed="boolean",
    said="string",
)
_GIVEN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "runs": {"type": "array", "items": {"type": "string"}},
        "filter": {"type": "string", "description": "The query of a filter: all that it takes."},
        "arguments": {"type": "object", "description": "Other arguments, for one run."},
        "key": {"type": "string"},
        "task": {"type": "string"},
        "error": {"type": "string"},
    },
}
