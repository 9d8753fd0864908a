"""docs/hooks.md has every hook, as it is, with an example that implements it.

Its examples are run along with those of the other pages, in test_docs.py.
"""

import ast
import inspect
import re
from pathlib import Path

import pytest

from jtask import hooks

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
    assert name in {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
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
def test_every_hook_is_marked_as_one(name: str) -> None:
    assert getattr(getattr(hooks, name), "jtask_spec", None) is not None
