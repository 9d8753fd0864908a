"""One attempt of a run: the same for a direct call and for a worker."""

from typing import TYPE_CHECKING

from jtask.lazy_names import lazy_names

if TYPE_CHECKING:
    from jtask.execution.hooks_loop import on_this_loop

__all__ = ["on_this_loop"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "jtask.execution.hooks_loop": ["on_this_loop"],
    },
)
