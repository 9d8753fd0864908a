"""The address of a NATS server, apart from who we are to it."""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from jtask.errors import ConfigurationError
from jtask_nats.client.logins import Login, as_user, with_token

_DEFAULT_PORT = 4222
_NEXT_URL = re.compile(r",\s*(?=\w+://)")
# With one of these the URL would mean something else.
_NOT_ENCODED = re.compile(r"[/?#@\[\]\s]|%(?![0-9A-Fa-f]{2})")


class Address(NamedTuple):
    """A server's URL without credentials, and what stood in it to log in with."""

    bare: str
    login: Login | None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Take a URL apart.

        Raises:
            ConfigurationError: It is no URL of a NATS server; the message shows no password.
        """
        scheme, separator, rest = text.partition("://")
        if not separator:
            scheme, rest = "nats", text
        # The last one: a password may hold more of them although it should not.
        credentials, _, place = rest.rpartition("@")
        if _NOT_ENCODED.search(credentials):
            raise _not_encoded(place)
        try:
            parts = urlsplit(f"{scheme}://{place}")
            host, port = parts.hostname or "", parts.port or _DEFAULT_PORT
        # urlsplit looks at the port only here, when it is asked for it.
        except ValueError:
            raise _no_url(text) from None
        if parts.scheme not in ("nats", "tls") or not host:
            raise _no_url(text)
        # urlsplit takes the brackets off an IPv6 address; the colons in it need them again.
        bare = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        return cls(bare, _login(credentials))


def servers_of(url: str) -> Sequence[str]:
    """Return the servers of a URL with several hosts, each with the scheme and the user."""
    servers: list[str] = []
    for one in _NEXT_URL.split(url):
        scheme, _, rest = one.partition("://")
        user, at, hosts = rest.rpartition("@")
        servers += [f"{scheme}://{user}{at}{host.strip()}" for host in hosts.rstrip("/").split(",")]
    return servers


def _login(credentials: str) -> Login | None:
    if not credentials:
        return None
    user, colon, password = credentials.partition(":")
    # As all clients of NATS have it: what stands there alone is a token.
    return as_user(unquote(user), unquote(password)) if colon else with_token(unquote(user))


def _not_encoded(place: str) -> ConfigurationError:
    return ConfigurationError(
        f"the user and password of the NATS server {place!r} in JTASK_URL must be percent-encoded: "
        "%40 for @, %2F for /, %3A for :, %3F for ?, %23 for #, %25 for % (Python: "
        "urllib.parse.quote(password, safe=''))"
    )


def _no_url(text: str) -> ConfigurationError:
    return ConfigurationError(
        f"a NATS server is nats://host:port or tls://host:port, not {_shown(text)!r}"
    )


def _shown(url: str) -> str:
    # The text goes into a message and so into logs: nothing of a password may be left of it.
    return url.rpartition("@")[2]
