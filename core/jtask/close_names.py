"""What somebody may have meant by a name that there is not."""

from collections.abc import Iterable


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the known name that is most like another; nothing if none is.

    Args:
        name: What was given.
        known: What there is.
    """
    # Here: nearly all processes never need it.
    from difflib import get_close_matches

    return get_close_matches(name, list(known), n=1)
