"""One process that measures what jtask does for a run: `otel_cost.py runs`, or a collector for it.

A run is prepared as `.delay()` does and executed as a worker does, without a broker between, whose
time would hide a few microseconds. Processor time of all threads: an exporter's counts, too.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

COUNT = 100
ROUNDS = 100


def runs(with_sdk: str = "") -> None:
    """Print the microseconds that one run costs, the best of some rounds."""
    if with_sdk:
        import opentelemetry.sdk.trace  # noqa: F401 - as a program does that will set a provider

    from bench_tasks import noop_sync

    from jtask.client.enqueueing import RunBuilder
    from jtask.execution.attempt import run_attempt
    from jtask.execution.sync_await import run_sync
    from jtask.ids import get_run_ids
    from jtask.plugins import hooks_of
    from jtask.runtime import RunContext
    from jtask.states import StateName
    from jtask.wire.envelope import decode_envelope

    ids, hooks = get_run_ids(), hooks_of(noop_sync)

    def one() -> None:
        builder = RunBuilder(cast("Any", None), ids, 500_000, noop_sync, noop_sync.definition)
        with builder:
            prepared = builder.one((), {})
            builder.sent([prepared.handle])
        envelope = decode_envelope(prepared.message.body)
        run = RunContext(
            envelope.run_id,
            noop_sync,
            envelope.created,
            queue="bench",
            worker="bench",
            headers=envelope.headers,
            blocking=True,
        )
        run.enter(StateName.PENDING)
        run_sync(run_attempt(run, hooks))
        run.let_go()

    def cost() -> float:
        begun = time.process_time()
        for _ in range(COUNT):
            one()
        return (time.process_time() - begun) / COUNT

    cost()
    print(min(cost() for _ in range(ROUNDS)) * 1e6)


def collector() -> None:
    """Answer whatever is exported, and print the port first."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    {"runs": runs, "collector": collector}[sys.argv[1]](*sys.argv[2:])
