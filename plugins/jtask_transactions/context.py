"""Which transaction the code is in that executes here."""

import contextlib
from collections.abc import Generator, Mapping
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, NamedTuple

from jtask.runtime import call_headers
from jtask_transactions.options import HEADER

if TYPE_CHECKING:
    from jtask.runtime import RunContext
    from jtask_transactions.tree import Transaction


class Outside(NamedTuple):
    """Stands in the context for "in none": a hook is called so, and what it does is not undone.

    Attributes:
        opened_in: The run that is executing then; for one that this calls, it says nothing.
    """

    opened_in: "RunContext | None"


_current: "ContextVar[Transaction | Outside | None]" = ContextVar("jtask_transaction", default=None)


class Entered(NamedTuple):
    """What `leave` needs to undo `enter`."""

    transaction: "Token[Transaction | Outside | None]"
    headers: Token[Mapping[str, str]]


def in_context() -> "Transaction | Outside | None":
    """Return what was entered last in this context."""
    return _current.get()


def enter(transaction: "Transaction | Outside") -> Entered:
    """Have the code of this context be in a transaction, or in none."""
    headers = {} if isinstance(transaction, Outside) else {HEADER: ""}
    return Entered(_current.set(transaction), call_headers.set(headers))


def leave(entered: Entered) -> None:
    """Undo `enter`, in the same context."""
    _current.reset(entered.transaction)
    call_headers.reset(entered.headers)


@contextlib.contextmanager
def inside(transaction: "Transaction | Outside") -> Generator[None]:
    """Do `enter` for a `with` block."""
    entered = enter(transaction)
    try:
        yield
    finally:
        leave(entered)
