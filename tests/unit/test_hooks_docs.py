"""docs/hooks.md has every hook, as it is, with an example that implements it.

Its examples are run along with those of the other pages, in test_docs.py.
"""

import ast
import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from jtask import hooks
from jtask.claims import Claim, Sending
from jtask.needs import Needs
from jtask.outcomes import Outcome
from jtask.runtime import (
    EnqueueRequest,
    HeldRun,
    RunContext,
    WorkerHandle,
    WorkerInfo,
)
from jtask.states import State
from jtask.stored_ends import StoredEnd

PAGE = Path(__file__).parents[2] / "docs" / "hooks.md"
SECTION = re.compile(r"^### `(jtask_\w+)([^\n]*)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def hook_specs() -> dict[str, ast.FunctionDef]:
    tree = ast.parse(inspect.getsource(hooks))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name: node for node in found if node.name.startswith("jtask_")}


def signature(spec: ast.FunctionDef) -> str:
    assert spec.returns is not None
    text = f"({ast.unparse(spec.args)}) -> {ast.unparse(spec.returns)}"
    return text.replace("'", "")


SPECS = hook_specs()
SECTIONS = {name: (said, body) for name, said, body in SECTION.findall(PAGE.read_text())}


def test_every_hook_is_documented_and_nothing_else() -> None:
    assert set(SECTIONS) == set(SPECS)
    listed = re.findall(r"^\| `(jtask_\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_the_documented_signature_is_the_real_one(name: str) -> None:
    assert SECTIONS[name][0] == signature(SPECS[name])


@pytest.mark.parametrize("name", SPECS)
def test_the_example_implements_the_hook_and_checks_what_comes_of_it(name: str) -> None:
    example = re.search(r"^```python\n(.*?)^```$", SECTIONS[name][1], re.MULTILINE | re.DOTALL)
    assert example is not None
    nodes = list(ast.walk(ast.parse(example[1])))
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    assert name in {node.name for node in nodes if isinstance(node, functions)}
    assert any(isinstance(node, ast.Assert) for node in nodes)


@pytest.mark.parametrize("name", SPECS)
def test_the_text_says_what_a_failure_does_as_the_docstring_does(name: str) -> None:
    text, docstring = SECTIONS[name][1], ast.get_docstring(SPECS[name]) or ""
    assert re.search(r"[Ff]ailure|raises counts", text)
    assert re.search(r"[Ff]ailure|raises counts", docstring)
    awaits = "Awaitable" in signature(SPECS[name])
    assert ("awaitable" in text) is awaits
    assert ("awaitable" in docstring) is awaits


@pytest.mark.parametrize("name", SPECS)
def test_the_text_and_the_docstring_say_when_the_hook_is_called(name: str) -> None:
    for text in (SECTIONS[name][1], ast.get_docstring(SPECS[name]) or ""):
        assert "Called " in text


@pytest.mark.parametrize("name", SPECS)
def test_every_hook_is_marked_as_one(name: str) -> None:
    assert getattr(getattr(hooks, name), "jtask_spec", None) is not None


# --- what hooks are called with ------------------------------------------------------------------

FACTS = [
    RunContext,
    EnqueueRequest,
    Claim,
    Sending,
    Outcome,
    State,
    WorkerInfo,
    WorkerHandle,
    HeldRun,
    Needs,
    StoredEnd,
]
FACT_SECTION = re.compile(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
FACT_SECTIONS = dict(FACT_SECTION.findall(PAGE.read_text()))
LINE = re.compile(r"^\| `(\w+)` \| (.+) \|$", re.MULTILINE)
facts = pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)


def public_names(kind: type) -> list[str]:
    """Return the fields, properties and methods of a class."""
    if dataclasses.is_dataclass(kind):
        fields = [field.name for field in dataclasses.fields(kind)]
    else:
        fields = list(getattr(kind, "_fields", ()))
    others = [n for n, v in vars(kind).items() if callable(v) or isinstance(v, property)]
    return [name for name in [*fields, *others] if not name.startswith("_")]


def test_everything_that_hooks_are_called_with_has_a_section() -> None:
    assert set(FACT_SECTIONS) == {kind.__name__ for kind in FACTS}
    mentioned = set(re.findall(r"\b[A-Z]\w+", "".join(map(signature, SPECS.values()))))
    ours = {kind.__name__ for kind in FACTS} & mentioned
    assert ours == {"RunContext", "EnqueueRequest", "Claim", "Outcome", "State", "WorkerInfo"} | {
        "Needs",
        "StoredEnd",
    }


@facts
def test_every_field_has_one_line_and_every_line_its_field(kind: type) -> None:
    documented = [name for name, _ in LINE.findall(FACT_SECTIONS[kind.__name__])]
    assert sorted(documented) == sorted(public_names(kind))


@facts
def test_every_field_is_described_in_the_docstring_too(kind: type) -> None:
    if not dataclasses.is_dataclass(kind):
        return
    docstring = inspect.getdoc(kind) or ""
    for field in dataclasses.fields(kind):
        assert re.search(rf"^    {field.name}: ", docstring, re.MULTILINE), field.name
