"""The demo's input: the modules of the Python that runs it."""

import sysconfig
from pathlib import Path
from typing import NamedTuple

# Some tests hold files that are no valid Python, on purpose.
_NOT_THE_LIBRARY = frozenset(
    {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
)


class Module(NamedTuple):
    """A module of the standard library: its dotted name and its file."""

    name: str
    path: Path


def standard_library() -> list[Module]:
    """Return the modules of the standard library that are written in Python, its tests left out."""
    root = Path(sysconfig.get_path("stdlib"))
    found = (path.relative_to(root) for path in sorted(root.rglob("*.py")))
    return [
        Module(_dotted(path), root / path)
        for path in found
        if not _NOT_THE_LIBRARY.intersection(path.parts)
    ]


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
