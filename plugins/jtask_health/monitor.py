"""Accompanies one worker: watches it, answers for it, gives it up."""

import logging
import threading
import time
from concurrent.futures import Future

from jtask.durations import describe_seconds
from jtask.runtime import WorkerInfo
from jtask.settings import Settings
from jtask_health.http import HealthServer
from jtask_health.status import WorkerStatus
from jtask_health.tracker import Change, Notice, ProblemTracker

_LOOK_EVERY = 1.0  # seconds
_SHUTDOWN_POLL = 0.1  # seconds
_log = logging.getLogger("jtask.worker")


class Monitor:
    """Two threads beside a worker: one looks how it is, one answers.

    Args:
        worker: Whom it accompanies.
        settings: Port, host, and when to give up.
    """

    def __init__(self, worker: WorkerInfo, settings: Settings) -> None:
        self._worker = worker
        self._host = settings.health_host
        self._port = _port_of(settings.health_port, worker.worker_index)
        self._status = WorkerStatus(worker)
        self._tracker = ProblemTracker(settings.give_up_after)
        self._over = threading.Event()
        self._ended: Future[None] = Future()
        self._server: HealthServer | None = None
        self._complained = False
        self._listen()
        threading.Thread(target=self._watch, name="jtask-health", daemon=True).start()

    def close(self) -> "Future[None]":
        """End both threads; the future is done when they have ended."""
        self._over.set()
        return self._ended

    def _watch(self) -> None:
        try:
            while not self._over.wait(_LOOK_EVERY):
                self._listen()
                self._look()
            if self._server is not None:
                self._server.shutdown()
                self._server.server_close()
        finally:
            self._ended.set_result(None)

    def _look(self) -> None:
        if not self._status.is_stopping:
            notice = self._tracker.look(self._status.problem(), time.monotonic())
            if notice is not None and not self._status.is_stopping:
                self._tell(notice)

    def _listen(self) -> None:
        """Answer from now on; a port that is taken may be free a moment later."""
        if self._port is None or self._server is not None:
            return
        try:
            self._server = HealthServer(self._host, self._port, self._status)
        except OSError as error:
            if not self._complained:
                self._complained = True
                _log.warning(
                    "worker %s cannot answer on %s port %d (%s): trying again until it can; "
                    "choose another --health-port",
                    self._worker.name,
                    self._host,
                    self._port,
                    error.strerror or error,
                )
            return
        threading.Thread(
            target=self._server.serve_forever,
            args=(_SHUTDOWN_POLL,),
            name="jtask-health-http",
            daemon=True,
        ).start()
        _log.info(
            "worker %s answers on %s/livez, /readyz and /status",
            self._worker.name,
            self._server.url,
            extra={"action": "health_listening", "url": self._server.url},
        )

    def _tell(self, notice: Notice) -> None:
        name, lasted = self._worker.name, describe_seconds(notice.lasted)
        if notice.change is Change.WELL:
            _log.info("worker %s gets runs again after %s", name, lasted)
        elif notice.change is Change.ILL:
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
    """Return the port of one of several workers; 0 gives each a free one."""
    return first + worker_index if first else first
