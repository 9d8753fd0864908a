"""Refuse a folder whose files hide the libraries that jtask imports."""

import sys
from pathlib import Path

from jtask.errors import ConfigurationError, TargetError

LIBRARIES = (
    "cloudpickle",
    "cronsim",
    "nats",
    "opentelemetry",
    "pluggy",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
)
"""All of them are packages. jtask imports some only when they are needed."""


def refuse_hidden_libraries(folder: Path) -> None:
    """Refuse a folder that is to be searched first if jtask would import its files as libraries.

    Raises:
        TargetError: It would; one of the files is named.
    """
    for name in LIBRARIES:
        for file in _namesakes(folder, name):
            raise TargetError(_sentence(file, name))


def refuse_hidden_library(name: str) -> None:
    """Refuse to import a library if Python would import a file beside the program in its place.

    Call it before the import: the file may be the program itself, which then runs once more in the
    middle of that.

    Raises:
        ConfigurationError: It would; the file is named.
    """
    known = sys.modules.get(name)
    for file in _namesakes(Path(*sys.path[:1]), name):
        if known is None or getattr(known, "__file__", None) == str(file):
            raise ConfigurationError(_sentence(file, name))


def _namesakes(folder: Path, name: str) -> list[Path]:
    files = [folder / f"{name}.py", folder / name / "__init__.py"]
    return [file for file in files if file.is_file() and not _is_installed_in(folder)]


def _is_installed_in(folder: Path) -> bool:
    """Tell whether packages are installed in the folder, as `pip install --target` does."""
    return any(folder.glob("*.dist-info"))


def _sentence(file: Path, name: str) -> str:
    place = file.parent if file.name == "__init__.py" else file
    return f"{str(place)!r} has the name of the library {name!r}, which jtask imports: rename it"
