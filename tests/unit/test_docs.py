"""The documentation is true: its code runs, its tables are those of the code."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import get_type_hints

import click
import pytest
from programs import environment

from jtask.cli.program import main as program
from jtask.contract import SEPARABLE, Broker
from jtask.plugins import get_plugins
from jtask.settings import Settings
from jtask.settings.model import owner_of
from jtask.settings.owners import find_owners
from jtask.states import TRANSITIONS, StateName
from jtask_nats.server.binary import find_server

_spec = importlib.util.spec_from_file_location(
    "docs_pages", Path(__file__).parent / "docs_pages.py"
)
assert _spec is not None
assert _spec.loader is not None
docs_pages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docs_pages)

ROOT: Path = docs_pages.ROOT
PAGES: list[Path] = docs_pages.pages()
RUNNABLE = [page for page in PAGES if docs_pages.runnable(page)]
OWN_PACKAGES = [path.name for path in ROOT.glob("*/jtask*")]
PATIENCE = 50.0  # seconds
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return page.name


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_the_python_of_a_page_runs(page: Path) -> None:
    ended = subprocess.run(
        [sys.executable, docs_pages.__file__, page],
        env=environment(JTASK_URL="memory://docs"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    for line in page.read_text().splitlines():
        if line.startswith("<!-- not run"):
            assert re.fullmatch(r"<!-- not run: \S.* -->", line)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":
            assert anchor in {slug(heading) for heading in _HEADING.findall(file.read_text())}, (
                target
            )


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def test_the_readme_has_one_command_for_the_demo_and_one_for_the_tests() -> None:
    marked = [b for b in docs_pages.blocks(ROOT / "README.md") if "<!-- command:" in b.above]
    assert [block.above for block in marked] == ["<!-- command: demo -->", "<!-- command: test -->"]
    for block in marked:
        assert len(block.text.splitlines()) == 1


def table(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the first table below a heading, code marks taken off."""
    text = (ROOT / "docs" / page).read_text().partition(f"# {heading}\n")[2]
    rows = []
    for line in text.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
        elif rows:
            break
    return rows[2:]


def test_every_state_is_described() -> None:
    assert [row[0] for row in table("states.md", "States")] == [str(name) for name in StateName]


def test_the_table_of_moves_is_the_one_in_force() -> None:
    documented = {
        StateName(row[0]): {StateName(name) for name in re.findall(r"\w+", row[1])}
        for row in table("states.md", "Moves")
    }
    assert documented == {name: set(after) for name, after in TRANSITIONS.items()}


def test_every_setting_is_described_with_its_default() -> None:
    models = [claim.model for claim in find_owners(None).declared]
    own = [model for model in models if owner_of(model) in OWN_PACKAGES]
    assert Settings in own
    for model in own:
        documented = {row[0]: row[1] for row in table("settings.md", f"`{owner_of(model)}`")}
        expected = {
            f"JTASK_{name.upper()}": "not set" if field.default is None else str(field.default)
            for name, field in model.model_fields.items()
        }
        assert documented == expected


def test_every_protocol_of_the_contract_is_described() -> None:
    documented = {row[0]: row[1] for row in table("brokers.md", "The parts")}
    parts = {name: vars(Broker)[name] for name in ("runs", "queues", *SEPARABLE)}
    assert documented == {n: get_type_hints(p.fget)["return"].__name__ for n, p in parts.items()}


def test_every_plugin_of_jtask_is_described() -> None:
    documented = [row[0] for row in table("plugins.md", "The plugins that come with jtask")]
    own = distribution("jtask").entry_points.select(group="jtask.plugins")
    assert sorted(documented) == sorted(point.name for point in own)


def test_every_option_that_can_travel_is_named_and_no_other() -> None:
    text = (ROOT / "docs" / "retries.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"can travel are (.*?)\.", text, re.DOTALL)
    options = get_plugins().options
    travelling = {name for name, option in options.items() if option.travels}
    assert set(re.findall(r"\w+", named.replace(" and ", " "))) == {"name", *travelling}


def test_every_command_that_a_package_of_jtask_adds_is_described() -> None:
    documented = [row[0] for row in table("plugins.md", "A command without a plugin")]
    own = distribution("jtask").entry_points.select(group="jtask.commands")
    assert sorted(documented) == sorted(point.name for point in own)


def test_the_plugin_that_is_read_from_top_to_bottom_is_the_real_one() -> None:
    [block] = [b for b in docs_pages.blocks(ROOT / "docs" / "plugins.md") if "not run" in b.above]
    [file] = re.findall(r"the file (\S+);", block.above)
    assert block.text == (ROOT / file).read_text()


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command, info_name=path)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None and not found.hidden:
            yield from commands(found, f"{path} {name}")


def test_every_command_and_option_is_described() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    described = dict(
        re.findall(r"^### `(jtask [^`]+)`$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    )
    existing = dict(commands(program, "jtask"))
    assert sorted(described) == sorted(existing)
    for path, command in existing.items():
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden and option.name != "as_json":
                assert option.opts[0] in described[path], path


def test_the_server_configurations_are_ones(tmp_path: Path) -> None:
    page = docs_pages.blocks(ROOT / "docs" / "deploy.md")
    found = [block.text for block in page if block.text.startswith("# nats.conf")]
    assert len(found) == 2
    for text in found:
        config = tmp_path / "nats.conf"
        config.write_text(text.replace("/data", str(tmp_path)))
        checked = subprocess.run(
            [find_server(), "-t", "-c", config],
            env=environment(NATS_PASSWORD="secret"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert checked.returncode == 0, checked.stderr


def test_a_stranger_needs_nothing_but_the_wire_format(jtask_nats: str, tmp_path: Path) -> None:
    """The example of docs/wire-format.md, with plain nats-py, against a real worker."""
    from jtask.client import get_client
    from jtask_nats.server.embedded import ensure_server

    endpoint = ensure_server()
    shop, example = docs_pages.blocks_in("python", ROOT / "docs" / "wire-format.md")
    (tmp_path / "shop.py").write_text(shop.text)
    client = get_client()
    client.io.run(client.broker.queues.depth("shop-total"))  # makes the stream of the runs
    worker = subprocess.Popen([sys.executable, "-m", "jtask.cli", "serve", "shop.py"], cwd=tmp_path)
    try:
        url = f"nats://{endpoint.user}:{endpoint.password}@127.0.0.1:{endpoint.port}"
        ended = subprocess.run(
            [sys.executable, "-c", example.text],
            env=environment(NATS_URL=url),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    finally:
        worker.terminate()
        worker.wait(PATIENCE)
    assert ended.returncode == 0, ended.stderr
    head, _, payload = ended.stdout.partition("\n")
    assert json.loads(head)["state"] == "Completed"
    assert float(payload) == 27.0
