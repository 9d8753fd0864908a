"""Refuse a folder whose files hide the libraries that a worker imports."""

from pathlib import Path

from jtask.errors import TargetError

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
        for file in (folder / f"{name}.py", folder / name / "__init__.py"):
            if file.is_file() and not _is_installed_in(folder):
                raise TargetError(
                    f"{str(_place(file))!r} has the name of the library {name!r}, "
                    f"which jtask imports: rename it"
                )


def _is_installed_in(folder: Path) -> bool:
    """Tell whether packages are installed in the folder, as `pip install --target` does."""
    return any(folder.glob("*.dist-info"))


def _place(file: Path) -> Path:
    return file.parent if file.name == "__init__.py" else file
