"""The HTTP server that Prometheus asks."""

import logging
from typing import Any

from jtask_otel.settings import OtelSettings

_log = logging.getLogger("jtask.worker")


class MetricsEndpoint:
    """Answers for one worker with all metrics of its process, until closed.

    Args:
        name: The worker's name, for the log.
        settings: Host and port.
        worker_index: Which of several workers this is; each takes a port of its own.
    """

    def __init__(self, name: str, settings: OtelSettings, worker_index: int) -> None:
        self._server: Any = None
        first, host = settings.metrics_port, settings.metrics_host
        if first is None:
            return
        port = first + worker_index if first else 0
        try:
            from prometheus_client import start_http_server

            self._server, _ = start_http_server(port, host)
        except (ImportError, OSError) as error:
            _log.warning("worker %s cannot show metrics on %s port %d: %s", name, host, port, error)
            return
        url = f"http://{host}:{self._server.server_port}/metrics"
        _log.info(
            "worker %s shows metrics on %s",
            name,
            url,
            extra={"action": "metrics_listening", "url": url},
        )

    def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
