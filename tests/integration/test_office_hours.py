"""The third-party plugin in examples/plugins: found once it is installed, and does what it says."""

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from installing import install, load
from programs import environment, output_of

FOLDER = Path(__file__).parents[2] / "examples" / "plugins" / "office_hours"
MODULE = FOLDER / "jtask_office_hours.py"


def run(folder: Path, program: str, *paths: Path) -> Any:
    """Run a program with some folders on its path; return the JSON that it prints."""
    path = os.pathsep.join(map(str, paths))
    env = environment(JTASK_URL="memory://office", PYTHONPATH=path)
    return json.loads(output_of(sys.executable, "-c", program, folder=folder, env=env))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    target = tmp_path / "site"
    install(FOLDER, target)
    return target


NAMES = "import json; from jtask.plugins import get_plugins; print(json.dumps(get_plugins().names))"
WORK = """
import json, time
from datetime import datetime

import jtask_office_hours
from jtask import task
from jtask.errors import RunRefused
from jtask.testing import run_worker

def it_is(*moment):
    jtask_office_hours.time = datetime(*moment).timestamp

@task(office_hours=(9, 17))
def call_customer(name: str) -> str:
    return f"called {name}"

@task
def tidy_up() -> str:
    return "tidy"

found = {}
it_is(2040, 1, 6, 12)  # a Friday
with run_worker(call_customer):
    found["open"] = call_customer.delay("Ada").result(20)
late = call_customer.delay("Bob")
it_is(2040, 1, 7, 12)
found["direct"] = call_customer("Eve")
try:
    call_customer.delay("Mallory")
except RunRefused as error:
    found["closed"] = str(error)
monday = datetime(2040, 1, 9, 10)
found["with an eta"] = call_customer.with_options(eta=monday.astimezone()).delay("Joe").state.name
with run_worker(call_customer, tidy_up):
    found["others"] = tidy_up.delay().result(20)
    until = time.monotonic() + 40
    while not late.state.message and time.monotonic() < until:
        time.sleep(0.01)
    found["late"] = [late.state.name, late.state.message]
print(json.dumps(found))
"""


def test_the_plugin_is_found_where_it_is_installed_and_only_there(installed: Path) -> None:
    assert "office_hours" in run(installed.parent, NAMES, installed)
    assert "office_hours" not in run(installed.parent, NAMES)


def test_runs_keep_to_business_hours(installed: Path) -> None:
    assert run(installed.parent, WORK, installed) == {
        "open": "called Ada",
        "direct": "called Eve",
        "closed": "the office is closed: give the run an eta in business hours",
        "with an eta": "Scheduled",
        "others": "tidy",
        "late": ["Scheduled", "the office is closed"],
    }


def test_the_plugin_has_less_than_forty_lines() -> None:
    assert len(MODULE.read_text().splitlines()) < 40


@pytest.fixture(scope="module")
def plugin() -> ModuleType:
    return load(MODULE)


FRIDAY, MONDAY = (2040, 1, 6), (2040, 1, 9)


@pytest.mark.parametrize(
    ("asked", "opens"),
    [
        ((*FRIDAY, 9, 0), (*FRIDAY, 9, 0)),
        ((*FRIDAY, 16, 59), (*FRIDAY, 16, 59)),
        ((*FRIDAY, 8, 59), (*FRIDAY, 9, 0)),
        ((*FRIDAY, 17, 0), (*MONDAY, 9, 0)),
        ((2040, 1, 8, 12, 30), (*MONDAY, 9, 0)),
        ((*MONDAY, 0, 0), (*MONDAY, 9, 0)),
    ],
)
def test_a_closed_office_opens_in_the_morning_of_the_next_working_day(
    plugin: ModuleType, asked: tuple[int, ...], opens: tuple[int, ...]
) -> None:
    instant = datetime(*asked).timestamp()  # type: ignore[arg-type]
    assert plugin.opening(instant, 9, 17) == datetime(*opens).timestamp()  # type: ignore[arg-type]
