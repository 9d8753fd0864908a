"""How this process introduces itself to a server: with TLS or without, and as whom."""

import json
import ssl
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

from jtask.errors import BrokerUnavailable
from jtask_nats.client.certificates import Certificates
from jtask_nats.client.gate import Gate
from jtask_nats.client.logins import Login
from jtask_nats.client.nats_errors import certificate_wanted

# Without answers to each command; with headers, and told where nobody listens (ADR-4, ADR-40).
_OPTIONS = {
    "verbose": False,
    "pedantic": False,
    "lang": "python3",
    "protocol": 1,
    "echo": True,
    "headers": True,
    "no_responders": True,
}


class Greeting(NamedTuple):
    """What is said to each server that this process connects to.

    Attributes:
        name: What the server's monitoring shows.
        login: Who we are.
        certificates: For TLS; None speaks it only with a server that insists.
        gate: Says where the one server is, and as whom to log in; None where anybody may answer.
    """

    name: str
    login: Login
    certificates: Certificates | None
    gate: Gate | None

    def wants_tls(self, info: Mapping[str, Any]) -> bool:
        """Tell whether to go on with TLS.

        Args:
            info: What the server says of itself.

        Raises:
            BrokerUnavailable: It does not offer TLS, which is wanted.
            PermissionDenied: It wants a certificate, and there is none.
        """
        is_required = bool(info.get("tls_required"))
        if self.certificates is not None and not (is_required or info.get("tls_available")):
            raise BrokerUnavailable("the server does not offer TLS, which tls:// requires")
        shown = self.certificates.certificate if self.certificates else None
        if info.get("tls_verify") and not shown:
            # It would end the connection without a word that reaches us for certain.
            raise certificate_wanted(str(info.get("host", "")))
        return is_required or self.certificates is not None

    def tls_context(self) -> ssl.SSLContext:
        """Read the certificates, as they are now.

        Raises:
            ConfigurationError: One of the files will not do.
        """
        return (self.certificates or Certificates()).context()

    def connect_command(self, info: Mapping[str, Any], own_port: int) -> bytes:
        """Return the command that logs in.

        Args:
            info: What the server says of itself.
            own_port: Our end of the connection.

        Raises:
            ConnectionError: It is not the server that may know who we are.
            ConfigurationError: A file of the login will not do.
        """
        options: dict[str, object] = {**_OPTIONS, "name": self.name, "version": _version()}
        if self.gate is not None:
            options["user"], options["pass"] = self.gate.login(info, own_port)
        options |= self.login.answer(info)
        return b"CONNECT %b\r\n" % json.dumps(options).encode()


@cache
def _version() -> str:
    return version("nats-py")
