"""The cookie of somebody who has logged in: signed, and nothing is kept of it here.

It is signed with what was logged in with, so it outlives a restart of the console and ends with the
token.
"""

import hmac
import time
from collections.abc import Mapping

COOKIE = "jtask_console"
LIFETIME = 7 * 86_400
"""Seconds after which somebody has to log in again."""


class Sessions:
    """Make and check the values of the cookie.

    Args:
        tokens: What each role logs in with.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._tokens = tokens

    def value_for(self, role: str) -> str:
        """Return the cookie's value for somebody who has logged in."""
        head = f"{role}.{int(time.time()) + LIFETIME}"
        return f"{head}.{self._signature(role, head)}"

    def role_in(self, value: str) -> str | None:
        """Return the role that a cookie's value gives; None when it gives none any more."""
        head, _, signature = value.rpartition(".")
        role, _, ends = head.partition(".")
        if role not in self._tokens or not ends.isascii() or not ends.isdigit():
            return None
        if not hmac.compare_digest(self._signature(role, head).encode(), signature.encode()):
            return None
        return role if int(ends) > time.time() else None

    def _signature(self, role: str, head: str) -> str:
        return hmac.digest(self._tokens[role].encode(), head.encode(), "sha256").hex()
