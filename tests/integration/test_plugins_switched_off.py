"""Whichever plugin is switched off, the rest works, and its options name it."""

import json
import sys
from importlib.metadata import distribution
from typing import Any

import pytest
from programs import environment, output_of

PLUGINS = sorted(p.name for p in distribution("jtask").entry_points.select(group="jtask.plugins"))
PROGRAM = """
import json, sys
from jtask import task
from jtask.cli.program import main
from jtask.errors import TaskDefinitionError
from jtask.plugins import Plugins
from jtask.testing import run_worker

@task
def double(number: int) -> int:
    return 2 * number

def refusal(option):
    try:
        task(**{option: None})(lambda: None)
    except TaskDefinitionError as error:
        return str(error)

main(["version", "--json"], standalone_mode=False)
with run_worker(double):
    values = [double(4), double.delay(6).result(20)]
refusals = {option: refusal(option) for option in Plugins([sys.argv[1]]).options}
print(json.dumps({"values": values, "refusals": refusals}))
"""


def run_with(plugins: list[str], looked_at: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the program says of itself and found, with some plugins loaded."""
    env = environment(JTASK_PLUGINS=",".join(plugins), JTASK_URL="memory://off")
    printed = output_of(sys.executable, "-c", PROGRAM, looked_at, env=env)
    version, found = map(json.loads, printed.splitlines())
    return version, found


@pytest.mark.parametrize("missing", PLUGINS)
def test_without_a_plugin_the_rest_works_and_its_options_say_what_is_missing(missing: str) -> None:
    others = [name for name in PLUGINS if name != missing]
    version, found = run_with(others, missing)
    assert version["plugins"] == others
    assert found["values"] == [8, 12]
    for option, refusal in found["refusals"].items():
        assert refusal is not None, f"{option} is accepted"
        assert f"no option {option!r}: the plugin {missing!r} declares it" in refusal


def test_without_any_plugin_tasks_run() -> None:
    version, found = run_with([], PLUGINS[0])
    assert version["plugins"] == []
    assert found["values"] == [8, 12]
