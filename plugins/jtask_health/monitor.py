"""Watches one worker: logs how it is, answers probes, and ends it when it gets no runs for long."""

import logging
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

from jtask.durations import describe_seconds
from jtask.runtime import WorkerInfo
from jtask_health.settings import HealthSettings
from jtask_health.status import WorkerStatus
from jtask_health.tracker import Change, Notice, ProblemTracker

if TYPE_CHECKING:
    from jtask_health.http import HealthServer

# A worker is to say within ten seconds that it gets no runs, and the broker needs most of those to
# notice.
_CHECK_SECONDS = 1.0
_SHUTDOWN_POLL_SECONDS = 0.1  # by so much the HTTP server's end delays that of its worker
_log = logging.getLogger("jtask.worker")


class Monitor:
    """Two threads beside a worker: one checks how it is, one answers probes.

    Args:
        worker: Which.
        settings: Port, host, and after which time without runs the worker ends.
    """

    def __init__(self, worker: WorkerInfo, settings: HealthSettings) -> None:
        self._worker = worker
        self._host = settings.health_host
        self._port = _port_of(settings.health_port, worker.worker_index)
        self._status = WorkerStatus(worker)
        self._tracker = ProblemTracker(settings.give_up_after)
        self._closed = threading.Event()
        self._ended: Future[None] = Future()
        self._server: HealthServer | None = None
        self._has_warned = False
        self._try_to_listen()
        threading.Thread(target=self._watch, name="jtask-health", daemon=True).start()

    def close(self) -> "Future[None]":
        """End both threads; the future is done when they have ended."""
        self._closed.set()
        return self._ended

    def _watch(self) -> None:
        try:
            while not self._closed.wait(_CHECK_SECONDS):
                self._try_to_listen()
                self._check()
            if self._server is not None:
                self._server.shutdown()
                self._server.server_close()
        finally:
            self._ended.set_result(None)

    def _check(self) -> None:
        if self._status.is_stopping:
            return
        notice = self._tracker.update(self._status.problem(), time.monotonic())
        # Asked again, for the question may have taken two seconds: a worker that has been told to
        # stop meanwhile has no problem, it is just stopping.
        if notice is not None and not self._status.is_stopping:
            self._report(notice)

    def _try_to_listen(self) -> None:
        """Listen unless it does already; tried at each check, for a taken port may be freed."""
        if self._port is None or self._server is not None:
            return
        # Most workers have no port: they are spared an HTTP server.
        from jtask_health.http import HealthServer

        try:
            self._server = HealthServer(self._host, self._port, self._status)
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                _log.warning(
                    "worker %s cannot listen on %s port %d (%s): "
                    "retrying; or choose another --health-port",
                    self._worker.name,
                    self._host,
                    self._port,
                    error.strerror or error,
                )
            return
        threading.Thread(
            target=self._server.serve_forever,
            args=(_SHUTDOWN_POLL_SECONDS,),
            name="jtask-health-http",
            daemon=True,
        ).start()
        _log.info(
            "worker %s answers on %s/livez, /readyz and /status",
            self._worker.name,
            self._server.url,
            extra={"action": "health_listening", "url": self._server.url},
        )

    def _report(self, notice: Notice) -> None:
        name, lasted = self._worker.name, describe_seconds(notice.lasted)
        if notice.change is Change.RECOVERED:
            _log.info("worker %s gets runs again after %s", name, lasted)
        elif notice.change is Change.UNHEALTHY:
            _log.warning(
                "worker %s gets no runs: %s",
                name,
                notice.problem,
                extra={"action": "worker_unhealthy", "worker": name, "problem": notice.problem},
            )
        else:
            self._worker.worker.give_up(
                f"worker {name} could get no runs for {lasted}: {notice.problem}"
            )


def _port_of(first: int | None, worker_index: int) -> int | None:
    """Return the port of one of several workers of `jtask serve`; 0 gives each a free one."""
    return first + worker_index if first else first
