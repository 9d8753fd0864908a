"""One attempt of a run: the same for a direct call and for a worker."""

from jtask.execution.hooks_loop import on_this_loop

__all__ = ["on_this_loop"]
