"""How this process, and the lease guard beside it, reach a server."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jtask_nats.client.certificates import Certificates
from jtask_nats.client.connection import Connection
from jtask_nats.client.logins import NOBODY, Login, as_user, with_credentials, with_nkey, with_token
from jtask_nats.server.gate import EmbeddedGate


class Access(NamedTuple):
    """The way to a server, in values that JSON has: another process connects with them.

    Attributes:
        servers: URLs; what proves in one of them who we are is used for all, and for nothing else.
        user: User name.
        password: Its password.
        token: A token.
        nkey_seed: Path of a file with an nkey seed.
        credentials: Path of a .creds file.
        ca: Path of the CA of the servers' certificates.
        certificate: Path of the client's certificate.
        key: Path of its key.
        inbox_prefix: Where answers arrive.
        home: Data folder of the embedded server, which says where it is and as whom to log in.
    """

    servers: Sequence[str]
    user: str | None = None
    password: str | None = None
    token: str | None = None
    nkey_seed: str | None = None
    credentials: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    inbox_prefix: str = "_INBOX"
    home: str | None = None

    def __repr__(self) -> str:
        """Show nothing that lets anybody in."""
        return f"<Access to {', '.join(server.rpartition('@')[2] for server in self.servers)}>"

    async def connect(self, name: str, timeout: float) -> Connection:
        """Connect to one of the servers.

        Args:
            name: What the server's monitoring shows.
            timeout: Seconds to try.

        Raises:
            BrokerError: As `Connection.open` does.
            ConfigurationError: A URL or a file will not do.
        """
        return await Connection.open(
            self.servers,
            name=name,
            connect_timeout=timeout,
            login=self._login(),
            certificates=Certificates(self.ca, self.certificate, self.key),
            inbox_prefix=self.inbox_prefix,
            gate=None if self.home is None else EmbeddedGate(Path(self.home)),
        )

    def _login(self) -> Login:
        if self.user is not None:
            return as_user(self.user, self.password or "")
        if self.token is not None:
            return with_token(self.token)
        if self.nkey_seed is not None:
            return with_nkey(Path(self.nkey_seed))
        if self.credentials is not None:
            return with_credentials(Path(self.credentials))
        return NOBODY
