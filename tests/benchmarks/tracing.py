"""What traces and metrics cost a run."""

import os
import subprocess
import sys

from harness import HERE, show

PROGRAM = str(HERE / "otel_cost.py")
TURNS = 3


def otel() -> None:
    """Processor time of a run: plugin off, on without an SDK, with a batch exporter, sampled."""
    from jtask.plugins import get_plugins

    others = ",".join(name for name in get_plugins().names if name != "otel")
    with subprocess.Popen(
        [sys.executable, PROGRAM, "collector"], stdout=subprocess.PIPE, text=True
    ) as collector:
        assert collector.stdout is not None
        port = collector.stdout.readline().strip()
        exporting = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
        }
        traces = exporting | {"OTEL_TRACES_EXPORTER": "otlp"}
        sampled = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
        ways = {
            "plugin off": ({"JTASK_PLUGINS": others}, ""),
            "plugin on, no SDK": ({}, ""),
            "plugin on, SDK imported and not set up": ({}, "with_sdk"),
            "traces, batch exporter": (traces, ""),
            "traces, sampled 1 %": (traces | sampled | {"OTEL_TRACES_SAMPLER_ARG": "0.01"}, ""),
            "traces and metrics, batch exporter": (exporting, ""),
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(TURNS):
            for name, (variables, sdk) in ways.items():
                best[name] = min(best[name], _cost(variables, sdk))
        collector.terminate()
    off = best["plugin off"]
    show("run, plugin off", off, "us")
    for name in list(ways)[1:]:
        goal = "goal <= 12" if "SDK" in name else ""
        show(f"run over that, {name}", best[name] - off, "us", goal=goal)


def _cost(variables: dict[str, str], sdk: str) -> float:
    env = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")} | variables
    command = [sys.executable, PROGRAM, "runs", *([sdk] if sdk else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
    return float(done.stdout.splitlines()[-1])
