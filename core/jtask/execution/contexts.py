"""Context variables: what one run sets, the next one does not see."""

import decimal
from contextvars import Context, copy_context


class FreshContexts:
    """Make a context for each run: a copy of the one in which this was made."""

    def __init__(self) -> None:
        self._base = copy_context()
        # The one value of the standard library that is changed in place; a copy shares it.
        self._decimal = _decimal_context(self._base)

    def new(self) -> Context:
        """Return the context of one run."""
        context = self._base.copy()
        if self._decimal is not None:
            context.run(decimal.setcontext, self._decimal.copy())
        return context


def _decimal_context(context: Context) -> decimal.Context | None:
    for value in context.values():
        if isinstance(value, decimal.Context):
            # A copy: the thread that it belongs to goes on changing its own.
            return value.copy()
    return None
