"""Settings that nothing but the test sets, and plugins that it installs."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installing import write_package

from jtask.settings import get_settings


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Enter a folder inside `tmp_path / "project"`; no setting comes from outside."""
    for name in list(os.environ):
        if name.startswith("JTASK_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "project" / "inside"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    get_settings.cache_clear()
    yield folder
    get_settings.cache_clear()


@pytest.fixture
def install(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., str]]:
    """Install a package of one module the way pip does; returns the name of the module."""
    folder = tmp_path_factory.mktemp("packages")
    monkeypatch.syspath_prepend(folder)
    modules: list[str] = []

    def add(name: str, source: str, group: str = "jtask.plugins", target: str = "") -> str:
        points = f"[{group}]\n{name} = {{module}}{target}\n"
        modules.append(write_package(folder, name, source, points))
        return modules[-1]

    yield add
    for module in modules:
        sys.modules.pop(module, None)
