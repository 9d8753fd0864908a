"""Load the modules in examples/plugins, or install them into a folder of a test's own."""

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType


def load(file: Path) -> ModuleType:
    """Return an example's module, which is not installed."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install(folder: Path, target: Path) -> None:
    """Install an example's folder as pip does, without the network."""
    if importlib.util.find_spec("hatchling") and importlib.util.find_spec("pip"):
        source = target.parent / f"source-of-{folder.name}"
        shutil.copytree(folder, source)
        options = ["--no-index", "--no-deps", "--no-build-isolation", "--target", target, source]
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", *options],
            check=True,
            capture_output=True,
        )
    else:
        _lay_out(folder, target)


def write_package(folder: Path, name: str, source: str, entry_points: str) -> str:
    """Write what the wheel of a package with one module unpacks to; returns the module's name.

    Args:
        folder: On the path.
        name: Of the package.
        source: Of its module.
        entry_points: With `{module}` for the module.
    """
    module = f"jtask_test_{name}".replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(entry_points.format(module=module))
    return module


def _lay_out(folder: Path, target: Path) -> None:
    """Write what a wheel of the folder unpacks to, where its build backend is not installed."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    name, version = project["project"]["name"], project["project"]["version"]
    info = target / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = project["project"]["entry-points"]
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for file in project["tool"]["hatch"]["build"]["targets"]["wheel"]["include"]:
        shutil.copy(folder / file, target)
