"""What the C library keeps of memory that was freed."""

from contextlib import suppress


def give_back_freed_memory() -> None:
    """Return it to the system: after a start, a MiB and more that would lie idle."""
    # Only glibc has the call, and not every Python the module.
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)
