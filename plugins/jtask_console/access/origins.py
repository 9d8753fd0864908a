"""Whether a request is what its sender's own page asked for. No I/O.

Browsers say where a request comes from (`Sec-Fetch-Site`, `Origin`), which pages cannot change. So
no form needs a secret, and a page that was open while the console restarted still works.
"""

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def problem_with_host(headers: Mapping[str, str], names: Collection[str]) -> str | None:
    """Return what is wrong with the name by which the console was asked for; None when nothing.

    Without this, a page of a name that its owner points at 127.0.0.1 could read everything.

    Args:
        headers: Of the request, by their names in lower case.
        names: Those that are right.
    """
    host = headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if name in names:
        return None
    return f"this console is not known as {name!r}: add the name to JTASK_CONSOLE_HOSTS"


def problem_with_origin(method: str, headers: Mapping[str, str]) -> str | None:
    """Return why a request may be another site's doing; None when it is not.

    Args:
        method: Of the request.
        headers: Of the request, by their names in lower case.
    """
    if method in _SAFE:
        return None
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        is_own = site in ("same-origin", "none")
    # Programs that are no browsers send neither, and nobody makes them send requests by a page.
    else:
        is_own = origin is None or urlsplit(origin).netloc == headers.get("host")
    return None if is_own else "another site has sent this request: use the console's own page"
