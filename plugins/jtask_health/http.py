"""The HTTP server for probes, and what it answers.

The standard library's: a worker answers a probe every few seconds, and a web framework would be a
dependency of everybody for that. It has threads of its own, so it answers although the tasks' loop
or the I/O thread is stuck, which is when the answer matters.
"""

import json
import logging
import socket
import socketserver
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from jtask_health.status import WorkerStatus

_REQUEST_TIMEOUT = 5.0  # seconds until a caller that says nothing is sent away
_log = logging.getLogger("jtask.worker")


class Response(NamedTuple):
    """A status code and a body."""

    status: HTTPStatus
    body: str
    content_type: str = "text/plain; charset=utf-8"


def respond(path: str, status: WorkerStatus) -> Response:
    """Answer a request for a path."""
    make_response = _PATHS.get(path.partition("?")[0])
    if make_response is None:
        return Response(HTTPStatus.NOT_FOUND, f"there is only {', '.join(_PATHS)}\n")
    return make_response(status)


class HealthServer(socketserver.ThreadingTCPServer):
    """Answers for one worker, each request in a thread of its own.

    Args:
        host: Where it listens; an IPv6 address too.
        port: 0 picks a free one.
        status: Of the worker.

    Raises:
        OSError: It cannot listen there.
    """

    # A worker that is replaced leaves its port in TIME_WAIT, where its successor could not bind it.
    allow_reuse_address = True
    # A worker that ends does not wait for a caller who has connected and says nothing.
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, status: WorkerStatus) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), partial(_Handler, status))

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep callers who hang up out of the log."""
        del request
        _log.debug("an answer to %s failed", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_TIMEOUT
    # The header `Server` would tell everybody which Python this is.
    server_version = "jtask"
    sys_version = ""

    def __init__(self, status: WorkerStatus, *connection: Any) -> None:
        self._status = status
        super().__init__(*connection)

    def do_GET(self) -> None:
        response = respond(self.path, self._status)
        body = response.body.encode()
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(body)))
        # A proxy between must not answer for a worker that is gone.
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name is http.server's

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as above
        """Keep the probes out of the log."""


def _livez(status: WorkerStatus) -> Response:
    # That this thread answers is all. A worker without its broker must not be restarted for it: it
    # reconnects by itself, and what it executes would be lost.
    del status
    return Response(HTTPStatus.OK, "ok\n")


def _readyz(status: WorkerStatus) -> Response:
    problem = status.problem()
    if problem is None:
        return Response(HTTPStatus.OK, "ok\n")
    return Response(HTTPStatus.SERVICE_UNAVAILABLE, f"{problem}\n")


def _status(status: WorkerStatus) -> Response:
    return Response(HTTPStatus.OK, f"{json.dumps(status.report())}\n", "application/json")


_PATHS: dict[str, Callable[[WorkerStatus], Response]] = {
    "/livez": _livez,
    "/readyz": _readyz,
    "/status": _status,
}
