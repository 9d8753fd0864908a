"""Nobody but the embedded server of a data folder is told its credential.

When the server has died, any program of the machine may take its port. So before each login: the
folder is this user's, the server holds its lock, what answers has the name that only this server
has given, and its process is this user's where the system tells. The credential lives no longer
than the server, so that even one that got out is of no use.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jtask.file_owners import user_name
from jtask_nats.client.gate import Credential
from jtask_nats.server.config import ServerRecord
from jtask_nats.server.files import ServerFiles
from jtask_nats.server.lock import is_held
from jtask_nats.server.peer import owner_of_peer


class EmbeddedGate:
    """A `Gate` to the server of a data folder.

    Args:
        home: The folder.
    """

    def __init__(self, home: Path) -> None:
        self._files = ServerFiles(home)
        self._record: ServerRecord | None = None

    def find(self) -> str:
        """Return the URL of the living server.

        Raises:
            ConnectionError: There is none.
            ConfigurationError: The folder is somebody else's.
        """
        self._record = self._living()
        if self._record is None:
            raise ConnectionRefusedError(f"the embedded server of {self._files.home} does not run")
        return self._record.url

    def login(self, info: Mapping[str, Any], own_port: int) -> Credential:
        """Return the credential for the server that `find` has found, if it is the one.

        Raises:
            ConnectionError: It is another one.
            ConfigurationError: The folder is somebody else's.
        """
        record = self._record
        # Looked at again: the server may have died, and its port be another's, since `find`.
        if record is None or info.get("server_name") != record.name or self._living() != record:
            raise ConnectionRefusedError(
                f"what answers there is not the embedded server of {self._files.home}"
            )
        owner = owner_of_peer(record.port, own_port)
        if owner not in (None, os.geteuid()):
            raise ConnectionRefusedError(
                f"what answers at {record.url} is a program of {user_name(owner)}'s, "
                f"not the embedded server of {self._files.home}"
            )
        return Credential(record.user, record.password)

    def _living(self) -> ServerRecord | None:
        self._files.refuse_foreign()
        return self._files.read_record() if is_held(self._files.lock) else None
