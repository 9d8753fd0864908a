"""Who decides, before each login, where the server is and whether it is the right one."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol


class Credential(NamedTuple):
    """What a server is told to be let in."""

    user: str
    password: str


class Gate(Protocol):
    """Asked at each attempt to connect. What it raises ends the attempt; more follow."""

    def find(self) -> str:
        """Return the URL of the server as it is now.

        Raises:
            ConnectionError: It does not run.
        """
        ...

    def login(self, info: Mapping[str, Any], own_port: int) -> Credential:
        """Return what may be sent to whoever has answered there.

        Args:
            info: What it says of itself.
            own_port: Our end of the connection.

        Raises:
            ConnectionError: It is not the server.
        """
        ...
