"""Names that a package hands on: each is imported when it is first used."""

TYPE_CHECKING = False  # true for type checkers; `typing` alone would be a third of a lease watch
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


def lazy_names(
    package: str, origins: "Mapping[str, Sequence[str]]"
) -> "tuple[Callable[[str], Any], Callable[[], list[str]]]":
    """Return a package's `__getattr__` and `__dir__` (PEP 562).

    A package must not import its own modules while it is imported itself. Who needs one of them
    has Python import the package first, and holds on to the module meanwhile. Two threads that come
    by different modules, each of which the other one's way needs, would wait for each other, and
    Python would give one of them half a module: a program whose threads use jtask for the first
    time at the same moment would get an ImportError.

    Args:
        package: Its `__name__`.
        origins: The names that it hands on, by the module that has them.
    """
    modules = {name: module for module, names in origins.items() for name in names}

    def get(name: str) -> "Any":
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        import sys
        from importlib import import_module

        value = getattr(import_module(modules[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def list_names() -> list[str]:
        import sys

        return sorted({*vars(sys.modules[package]), *modules})

    return get, list_names
