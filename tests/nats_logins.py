"""What users log in to a NATS server with, made anew for a test: nkeys, JWTs, certificates."""

import base64
import hashlib
import importlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

nkeys: Any = importlib.import_module("nkeys")


class Key:
    """An nkey of a kind: `OPERATOR`, `ACCOUNT` or `USER`."""

    def __init__(self, kind: str) -> None:
        prefix = getattr(nkeys, f"PREFIX_BYTE_{kind}")
        self.seed = nkeys.encode_seed(os.urandom(32), prefix).decode()
        self._pair = nkeys.from_seed(bytearray(self.seed.encode()))
        self.public: str = self._pair.public_key.decode()

    def jwt(self, subject: "Key", kind: str, expires_in: float | None = None) -> str:
        """Sign what another key may do, as `nsc` does."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iat": now,
            "iss": self.public,
            "sub": subject.public,
            "name": kind,
            "nats": {"type": kind, "version": 2, **_LIMITS.get(kind, {})},
        }
        if expires_in is not None:
            claims["exp"] = int(now + expires_in)
        claims["jti"] = hashlib.sha256(json.dumps(claims).encode()).hexdigest()
        parts = [_encoded(json.dumps(part).encode()) for part in (_HEADER, claims)]
        signature = self._pair.sign(".".join(parts).encode())
        return ".".join([*parts, _encoded(signature)])


_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_UNLIMITED = {"subs": -1, "data": -1, "payload": -1}
_LIMITS: dict[str, Any] = {
    "account": {"limits": {**_UNLIMITED, "conn": -1, "leaf": -1, "imports": -1, "exports": -1}},
    "user": _UNLIMITED,
}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Operator:
    """An operator with one account, and the users that it lets in."""

    def __init__(self) -> None:
        self._key, self._account, self._system = Key("OPERATOR"), Key("ACCOUNT"), Key("ACCOUNT")

    @property
    def config(self) -> str:
        """Lines for a server's configuration."""
        accounts = "\n".join(
            f"{account.public}: {self._key.jwt(account, 'account')}"
            for account in (self._account, self._system)
        )
        return (
            f"operator: {self._key.jwt(self._key, 'operator')}\n"
            f"system_account: {self._system.public}\n"  # JetStream does not start without one
            f"resolver: MEMORY\nresolver_preload {{ {accounts} }}\n"
        )

    def credentials(self, expires_in: float | None = None) -> str:
        """Return the text of a new user's .creds file."""
        user = Key("USER")
        jwt = self._account.jwt(user, "user", expires_in)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )


class Signed(NamedTuple):
    """A certificate and its key, as PEM files."""

    certificate: str
    key: str


class Authority:
    """A CA of a test's own, made with openssl.

    Args:
        folder: For its files.
        name: Keeps several apart.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self.ca = str(self._folder / "ca.pem")
        self._key = str(self._folder / "ca.key")
        self._openssl("req", "-x509", *_NEW_KEY, "-subj", f"/CN={name}", "-days", "2",
                      "-addext", "keyUsage=critical,keyCertSign",
                      "-keyout", self._key, "-out", self.ca)  # fmt: skip

    def sign(self, name: str, days: int = 2) -> Signed:
        """Make a certificate for 127.0.0.1; it has expired where `days` is negative."""
        request, key, made = (self._folder / f"{name}.{kind}" for kind in ("csr", "key", "pem"))
        extensions = self._folder / f"{name}.ext"
        # Python 3.13 verifies by the letter of RFC 5280, which asks for the key's identifier.
        extensions.write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
        self._openssl("req", *_NEW_KEY, "-subj", f"/CN={name}",
                      "-keyout", str(key), "-out", str(request))  # fmt: skip
        self._openssl("x509", "-req", "-in", str(request), "-CA", self.ca, "-CAkey", self._key,
                      "-CAcreateserial", "-days", str(days), "-extfile", str(extensions),
                      "-out", str(made))  # fmt: skip
        return Signed(str(made), str(key))

    def _openssl(self, *arguments: str) -> None:
        try:
            subprocess.run(["openssl", *arguments], check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("openssl is not installed")


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
