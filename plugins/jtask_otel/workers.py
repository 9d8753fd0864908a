"""What a worker does for traces and metrics beside its runs."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from jtask.settings import settings_of
from jtask_otel.depths import observed
from jtask_otel.endpoint import MetricsEndpoint
from jtask_otel.ends import ends
from jtask_otel.settings import OtelSettings
from jtask_otel.telemetry import current

if TYPE_CHECKING:
    from jtask.runtime import WorkerInfo


@asynccontextmanager
async def accompanied(worker: "WorkerInfo") -> AsyncGenerator[None]:
    """Show metrics and look at the queues while a worker works; export all at its end."""
    telemetry = current()
    if telemetry is None:
        yield
        return
    endpoint = MetricsEndpoint(worker.name, settings_of(OtelSettings), worker.worker_index)
    try:
        async with observed(worker, telemetry.instruments.depths):
            yield
    finally:
        await asyncio.to_thread(_end, endpoint)


def _end(endpoint: MetricsEndpoint) -> None:
    endpoint.close()
    ends.end_worker()
