"""Check that a wheel holds every Python file of the source roots: `wheel_contents.py WHEEL`."""

import sys
import zipfile
from pathlib import Path

ROOTS = ("core", "brokers", "plugins")


def missing(wheel: Path, repository: Path) -> list[str]:
    """Return the files of the source roots that a wheel lacks."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = (
        path.relative_to(repository / root).as_posix()
        for root in ROOTS
        for path in (repository / root).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    )
    return sorted(set(wanted) - packed)


if __name__ == "__main__":
    lacking = missing(Path(sys.argv[1]), Path(__file__).parents[1])
    sys.exit(f"the wheel lacks {', '.join(lacking)}" if lacking else 0)
