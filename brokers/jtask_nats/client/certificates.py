"""The certificates of TLS: whom we trust, and what shows who we are."""

import ssl
from typing import NamedTuple

from jtask.errors import ConfigurationError


class Certificates(NamedTuple):
    """PEM files, read at each connect, so that renewed ones are used without a restart.

    Attributes:
        ca: Of those who sign servers' certificates; None trusts those that the system trusts.
        certificate: What the client shows; None shows nothing.
        key: Its key; None where that is in the same file.
    """

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def are_set(self) -> bool:
        """Whether there are any, and so no plain text is meant."""
        return self.ca is not None or self.certificate is not None

    def context(self) -> ssl.SSLContext:
        """Read the files.

        Raises:
            ConfigurationError: One of them will not do.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ValueError) as error:
            raise _wrong("CA", self.ca, "JTASK_NATS_CA", error) from None
        if self.certificate is not None:
            try:
                # Else OpenSSL would ask for the passphrase on the terminal, and wait.
                context.load_cert_chain(self.certificate, self.key, password=_no_passphrase)
            except (OSError, ValueError) as error:
                names = "JTASK_NATS_CLIENT_CERTIFICATE and JTASK_NATS_CLIENT_KEY"
                what = " with the key ".join(filter(None, (self.certificate, self.key)))
                raise _wrong("client certificate", what, names, error) from None
        return context


def _no_passphrase() -> str:
    raise ValueError("the key is encrypted: use one without a passphrase")


def _wrong(what: str, file: str | None, setting: str, error: Exception) -> ConfigurationError:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return ConfigurationError(f"the {what} {file} ({setting}) cannot be used: {reason}")
