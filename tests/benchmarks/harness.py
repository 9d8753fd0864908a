"""What the benchmarks share: a server of their own, raw connections, figures in a table."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nats
from nats.aio.client import Client

HERE = Path(__file__).parent


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def show(name: str, figure: float, unit: str, bound: float | None = None, goal: str = "") -> None:
    """Print one figure, beside its bound when there is one."""
    beside = f"  bound {bound:>12,.2f}  ratio {figure / bound:5.2f}" if bound else ""
    print(f"{name:<52} {figure:>12,.2f} {unit:<8}{beside}  {goal}", flush=True)


@contextlib.contextmanager
def own_server() -> Iterator[None]:
    """Give the block an embedded server of its own, with the default durability."""
    from jtask.settings import get_settings
    from jtask_nats.server.embedded import stop_server

    with tempfile.TemporaryDirectory(prefix="jtask-bench-") as home:
        os.environ["JTASK_HOME"] = home
        os.environ.pop("JTASK_URL", None)
        get_settings.cache_clear()
        try:
            yield
        finally:
            from jtask.client import close_client

            close_client()
            stop_server(Path(home))


async def raw_connection() -> Client:
    """Return a plain nats-py connection to this process's embedded server."""
    from jtask_nats.server.embedded import ensure_server

    server = ensure_server()
    return await nats.connect(server.url, user=server.user, password=server.password)


@contextlib.contextmanager
def worker(
    *targets: str, concurrency: int, processes: int = 1
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `jtask serve` beside the block, with tasks such as `bench_tasks.py:noop`."""
    command = [
        *(sys.executable, "-m", "jtask.cli", "serve", "--log-level", "warning"),
        *(f"--concurrency={concurrency}", f"--processes={processes}"),
        *(str(HERE / target) for target in targets),
    ]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def until(condition: Callable[[], bool], timeout: float = 120.0, pause: float = 0.01) -> float:
    """Wait for a condition and return when it held."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a benchmark's condition never held")
        time.sleep(pause)
    return time.time()


def resident(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    return _memory(pid, "status", "VmRSS:")


def share_of_memory(pid: int) -> float:
    """Return a process's share of what it and others have in memory (PSS), in MiB."""
    return _memory(pid, "smaps_rollup", "Pss:")


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int, file: str, name: str) -> float:
    for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)
