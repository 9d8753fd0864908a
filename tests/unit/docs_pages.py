"""Read the Python of a documentation page, and run it: `python docs_pages.py docs/tutorial.md`.

A page's blocks are modules, imported in order from a folder of their own. A block that begins with
a comment such as `# tasks.py` gets that name, so that later blocks can import it; after each block
a worker serves the tasks that it defined. A block below `<!-- not run: why -->` is skipped.
"""

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\s*$")
_FILE_NAME = re.compile(r"#\s*([\w./-]+)\.py\s*$")
_SKIP = "<!-- not run:"


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        line: Where its text begins.
        above: The line above the fence.
    """

    language: str
    line: int
    above: str
    text: str


def pages() -> list[Path]:
    """Return all pages of the documentation."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    lines = page.read_text().splitlines()
    opened: tuple[str, int] | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence and opened is None:
            opened = (fence[1], number)
        elif fence and opened is not None:
            language, start = opened
            above = lines[start - 1].strip() if start else ""
            yield Block(language, start + 2, above, "\n".join(lines[start + 1 : number]) + "\n")
            opened = None


def blocks_in(language: str, page: Path) -> list[Block]:
    """Return the blocks of a page in one language."""
    return [block for block in blocks(page) if block.language == language]


def runnable(page: Path) -> list[Block]:
    """Return the Python blocks of a page that are to be run."""
    return [block for block in blocks_in("python", page) if not block.above.startswith(_SKIP)]


def run(page: Path) -> None:
    """Run a page's Python, with a broker and workers inside this process."""
    with tempfile.TemporaryDirectory() as folder:
        sys.path.insert(0, folder)
        os.chdir(folder)
        served: set[str] = set()
        for block in runnable(page):
            name = re.sub(r"\W", "_", _name_of(block))
            # Line numbers in tracebacks are then those of the page.
            Path(folder, f"{name}.py").write_text("\n" * (block.line - 1) + block.text)
            importlib.invalidate_caches()
            module = importlib.import_module(name)
            _serve_new_tasks(vars(module), served)
        os.chdir("/")


def _name_of(block: Block) -> str:
    first = block.text.partition("\n")[0]
    found = _FILE_NAME.match(first)
    return found[1] if found else f"block_at_line_{block.line}"


def _serve_new_tasks(names: dict[str, object], served: set[str]) -> None:
    from jtask import Task
    from jtask.testing import start_worker

    methods = [v for c in names.values() if isinstance(c, type) for v in vars(c).values()]
    found = [*names.values(), *methods]
    new = [v for v in found if isinstance(v, Task) and v.key not in served]
    if new:
        served.update(task.key for task in new)
        start_worker(*new)


if __name__ == "__main__":
    run(Path(sys.argv[1]).resolve())
