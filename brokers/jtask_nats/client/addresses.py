"""The address of a NATS server, apart from the credentials."""

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from jtask.errors import ConfigurationError

_DEFAULT_PORT = 4222


class Address(NamedTuple):
    """A server's URL without credentials, and the credentials that stood in it."""

    bare: str
    user: str | None
    password: str | None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Take a URL apart.

        Raises:
            ConfigurationError: It is no URL of a NATS server; the message shows no password.
        """
        try:
            parts = urlsplit(text if "://" in text else f"nats://{text}")
            host, port = parts.hostname or "", parts.port or _DEFAULT_PORT
        # urlsplit looks at the port only here, when it is asked for it.
        except ValueError:
            raise _no_url(text) from None
        if parts.scheme not in ("nats", "tls") or not host:
            raise _no_url(text)
        # urlsplit takes the brackets off an IPv6 address; the colons in it need them again.
        bare = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"
        return cls(bare, _plain(parts.username), _plain(parts.password))


def _no_url(text: str) -> ConfigurationError:
    return ConfigurationError(
        f"a NATS server is nats://host:port or tls://host:port, not {_shown(text)!r}"
    )


def _shown(url: str) -> str:
    # The text goes into a message and so into logs: nothing of a password may be left of it.
    return url.rpartition("@")[2]


def _plain(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def readable(credentials: Path | None) -> Path | None:
    """Return a credentials file that can be read, or None when there is none.

    Raises:
        ConfigurationError: It cannot be read.
    """
    if credentials is not None and not os.access(credentials, os.R_OK):
        raise ConfigurationError(f"the NATS credentials file {credentials} cannot be read")
    return credentials
