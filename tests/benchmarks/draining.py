"""How one worker's processes share a queue, and where the machine's time goes meanwhile."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench_tasks import noop
from harness import HERE, show, until, worker

_RUNS = 40_000
_CONCURRENCY = 100
_ROUNDS = 5  # of which the median counts
_BEGUN = 2_000  # runs that are over before the clock starts: every process has come up
_TICKS = os.sysconf("SC_CLK_TCK")


def processes() -> None:
    """Drains by one process and by two, beside as many bare pullers."""
    noop.delay()  # starts the server
    for count in (1, 2):
        rounds = [(_drain(count), bare_rate(_RUNS, count, _CONCURRENCY)) for _ in range(_ROUNDS)]
        ours = statistics.median(rate for (rate, _, _), _ in rounds)
        bare = statistics.median(bound for _, bound in rounds)
        name = "1 process" if count == 1 else f"{count} processes"
        show(f"drain of {_RUNS:,}, noop, by {name}", ours, "runs/s", bare)
        for index, who in enumerate(("workers", "server"), 1):
            cost = statistics.median(found[index] for found, _ in rounds)
            show(f"  CPU time of the {who}", cost * 1e6, "us/run")
            show(f"  of the machine's {os.cpu_count()} cores", cost * ours, "cores")


def bare_rate(runs: int, pullers: int, concurrency: int) -> float:
    """Return runs a second of bare nats-py, by some processes that share one queue."""
    _call("publish", runs)
    share = ["drain", str(runs // pullers), str(concurrency)]
    started = [_start(*share) for _ in range(pullers)]
    spans = [json.loads(process.communicate()[0]) for process in started]
    begun, ended = zip(*spans, strict=True)
    return runs / (max(ended) - min(begun))


def _drain(count: int) -> tuple[float, float, float]:
    """Return runs a second, and seconds of CPU time a run: of the workers, and of the server."""
    from jtask.client import get_client

    client = get_client()
    noop.delay_many([()] * _RUNS)

    def waiting() -> int:
        return client.io.run(client.broker.queues.depth(noop.queue))

    with worker("bench_tasks.py:noop", concurrency=_CONCURRENCY, processes=count) as started:
        until(lambda: waiting() < _RUNS - _BEGUN)
        left, begun = waiting(), time.time()
        pids = [started.pid, *_children(started.pid)] if count > 1 else [started.pid]
        before = [_cpu(pids), _cpu(_server())]
        ended = until(lambda: waiting() == 0)
        after = [_cpu(pids), _cpu(_server())]
    workers, server = ((b - a) / left for a, b in zip(before, after, strict=True))
    return left / (ended - begun), workers, server


def _cpu(pids: list[int]) -> float:
    """Return the seconds of CPU time that processes have used."""
    used = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / _TICKS


def _server() -> list[int]:
    return _where(lambda command: os.environ["JTASK_HOME"] in command and "nats-server" in command)


def _children(pid: int) -> list[int]:
    listed = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for children in listed for child in children]


def _where(matches: Callable[[str], bool]) -> list[int]:
    found: list[int] = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().decode(errors="replace")
        except OSError:  # it has ended
            continue
        if matches(command):
            found.append(int(file.parent.name))
    return found


def _call(*arguments: object) -> None:
    _start(*map(str, arguments)).communicate()


def _start(*arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, str(HERE / "bounds.py"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE)
