"""Notice changed code: `jtask serve --reload`."""

from collections.abc import Generator, Iterable
from pathlib import Path

from jtask.errors import ConfigurationError


def folders_of(targets: Iterable[str]) -> list[str]:
    """Return the folders whose files the targets are likely to load."""
    files = [Path(place) for target in targets if "/" in (place := target.partition(":")[0])]
    folders = {Path.cwd(), *(file.resolve().parent for file in files)}
    return sorted(str(folder) for folder in folders if folder.is_dir())


def changes_in(folders: Iterable[str]) -> Generator[list[str], None, None]:
    """Return an iterator that yields the .py files under some folders which changed, for ever.

    Raises:
        ConfigurationError: watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, watch
    except ImportError:
        raise ConfigurationError('--reload needs watchfiles: pip install "jtask[reload]"') from None

    def changes() -> Generator[list[str], None, None]:
        for found in watch(*folders, watch_filter=PythonFilter(), raise_interrupt=False):
            yield sorted(path for _, path in found)

    return changes()
