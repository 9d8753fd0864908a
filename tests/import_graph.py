"""Count a package's modules and its import circles: `python tests/import_graph.py`.

Every import counts, also those inside functions and under TYPE_CHECKING: a reader has to follow
them all the same. `from package import module` counts as an import of the package too: write
`from package.module import name`. A package whose `__init__` only hands names on counts as what it
names. Exits with 1 when there is a circle.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {"jtask": "core", "jtask_nats": "brokers", "jtask_memory": "brokers"}
Graph = Mapping[str, set[str]]


def modules_of(package: str, root: Path) -> dict[str, Path]:
    """Return a package's modules by dotted name."""
    found: dict[str, Path] = {}
    for file in sorted((root / package).rglob("*.py")):
        parts = file.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def graph_of(modules: Mapping[str, Path]) -> Graph:
    """Return which modules each module imports, through faces of packages too."""
    trees = {name: ast.parse(file.read_text()) for name, file in modules.items()}
    faces = {name for name, tree in trees.items() if _is_face(modules[name], tree)}
    direct = {name: set(_imports(tree, modules)) - {name} for name, tree in trees.items()}
    return {
        name: {target for target in targets if target not in faces}
        for name, targets in direct.items()
        if name not in faces
    }


def circles_of(graph: Graph) -> list[set[str]]:
    """Return the groups of modules that import one another, by whatever way."""
    reach = {name: _reachable(graph, name) for name in graph}
    circles: list[set[str]] = []
    for name in graph:
        group = {other for other in reach[name] if name in reach[other]}
        if group and group not in circles:
            circles.append(group)
    return circles


def _is_face(file: Path, tree: ast.Module) -> bool:
    allowed = (ast.Import, ast.ImportFrom, ast.If, ast.Assign, ast.Expr)
    return file.name == "__init__.py" and all(isinstance(node, allowed) for node in tree.body)


def _imports(tree: ast.Module, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name for name in (node.module, *inner) if name in modules)


def _reachable(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(graph[start])
    while todo:
        name = todo.pop()
        if name not in seen and name in graph:
            seen.add(name)
            todo += graph[name]
    return seen


def main() -> int:
    """Print the counts of each package; return 1 when there is a circle."""
    failed = False
    for package, folder in PACKAGES.items():
        modules = modules_of(package, ROOT / folder)
        side_by_side = [n for n in modules if n.count(".") == 1 and modules[n].stem != "__init__"]
        rooms = [n for n in modules if n.count(".") == 1 and modules[n].stem == "__init__"]
        circles = circles_of(graph_of(modules))
        print(
            f"{package}: {len(modules)} modules, {len(side_by_side)} directly under the package, "
            f"{len(rooms)} rooms, {len(circles)} import circles"
        )
        for circle in circles:
            failed = True
            print(f"  {len(circle)} modules import one another: {', '.join(sorted(circle))}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
