"""Import what a program needs only once it uses its tasks, or say why that cannot be done now."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from jtask.errors import BrokerUnavailable, JTaskError

# A signal handler is called in the context of what it interrupts.
_is_importing = ContextVar("jtask_first_use", default=False)


@contextmanager
def first_use() -> Generator[None]:
    """Hold off signal handlers that use jtask while this block imports it.

    What they need is half imported, and what another thread imports for them waits for this one.

    Raises:
        JTaskError: This is such a handler.
        BrokerUnavailable: The program is over, and Python starts nothing any more.
    """
    if _is_importing.get():
        raise JTaskError(
            "a signal handler called jtask while it interrupted the first use of jtask in the same "
            "thread: call jtask.connect() before the handler may be called, or let it set a flag"
        )
    token = _is_importing.set(True)
    try:
        yield
    except RuntimeError as error:
        if "after shutdown" not in str(error):
            raise
        raise BrokerUnavailable(
            "the program is over, and jtask is used for the first time: call jtask.connect() "
            "earlier, such as before atexit.register(...)"
        ) from error
    finally:
        _is_importing.reset(token)
