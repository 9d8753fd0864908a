"""What a package does when it is imported, and what it hands on."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

CORE = Path(__file__).parents[2] / "core"
# Only one thread imports these: that of the program, and a test's. `task` of `jtask.tasks` is a
# module there too, so it cannot be looked up later; `jtask` imports the package before its modules.
EAGER = {"jtask.cli.trace", "jtask.tasks", "jtask.testing.contract"}
PACKAGES = {
    ".".join(file.parent.relative_to(CORE).parts): file
    for file in sorted((CORE / "jtask").rglob("__init__.py"))
}


def imported_with(file: Path) -> Iterator[str]:
    for statement in ast.parse(file.read_text()).body:
        if isinstance(statement, ast.ImportFrom):
            yield str(statement.module)
        elif isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)


@pytest.mark.parametrize("package", sorted(PACKAGES.keys() - EAGER))
def test_no_package_imports_its_own_modules_while_threads_may_enter_it_by_them(
    package: str,
) -> None:
    own = [name for name in imported_with(PACKAGES[package]) if name.startswith(f"{package}.")]
    assert own == []


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_what_a_package_hands_on_is_there_and_no_module_hides_it(package: str) -> None:
    module = import_module(package)
    for name in getattr(module, "__all__", ()):
        assert name in dir(module) or package == "jtask.runtime"
        assert not isinstance(getattr(module, name), ModuleType)


def test_a_name_that_a_package_does_not_have_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'future_of'"):
        import_module("jtask.futures").future_of  # noqa: B018 - the access is what is tested
