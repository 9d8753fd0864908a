"""Who we are to a server: a user, a token, an nkey, or a .creds file.

Files are read at each connect, so that a credential that is replaced in time never ends a program.
"""

import base64
import binascii
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jtask.errors import ConfigurationError

_JWT = re.compile(r"BEGIN NATS USER JWT-+\s+(\S+)")
_SEED = re.compile(r"BEGIN USER NKEY SEED-+\s+(\S+)")


Answer = Callable[[Mapping[str, Any]], Mapping[str, str]]


class Login(NamedTuple):
    """A way to prove who we are.

    Attributes:
        answer: Returns the fields of CONNECT that do so, from the server's INFO. It is called at
            each connect, raises ConfigurationError where it cannot ever answer, and ConnectionError
            where it must not answer this server.
        origin: Where a person has said who we are, for messages.
    """

    answer: Answer
    origin: str


def _always(fields: Mapping[str, str]) -> Answer:
    """Answer every server with the same fields."""
    return lambda _info: fields


NOBODY = Login(
    _always({}),
    "it wants to know who you are: put user and password into JTASK_URL, or set JTASK_NATS_TOKEN, "
    "JTASK_NATS_NKEY_SEED or JTASK_NATS_CREDENTIALS",
)


def as_user(user: str, password: str) -> Login:
    """Log in with a user and a password."""
    return Login(
        _always({"user": user, "pass": password}),
        "check the user and password in JTASK_URL, where special characters are percent-encoded",
    )


def with_token(token: str) -> Login:
    """Log in with a token."""
    return Login(
        _always({"auth_token": token}),
        "check the token in JTASK_NATS_TOKEN, or in JTASK_URL, where special characters are "
        "percent-encoded",
    )


def with_nkey(file: Path) -> Login:
    """Log in with an nkey.

    Args:
        file: Holds the seed of a user's nkey.

    Raises:
        ConfigurationError: It does not, or the package nkeys is missing.
    """

    def answer(info: Mapping[str, Any]) -> Mapping[str, str]:
        public, signature = _sign(
            _read(file, "JTASK_NATS_NKEY_SEED").strip(), info.get("nonce", ""), file
        )
        # Without a nonce the server knows nothing of nkeys.
        return {"nkey": public, "sig": signature} if "nonce" in info else {}

    answer({})
    return Login(answer, f"check the nkey seed in {file} (JTASK_NATS_NKEY_SEED)")


def with_credentials(file: Path) -> Login:
    """Log in with the JWT and the nkey seed in a .creds file.

    Raises:
        ConfigurationError: It holds no such thing, or the package nkeys is missing.
    """

    def answer(info: Mapping[str, Any]) -> Mapping[str, str]:
        text = _read(file, "JTASK_NATS_CREDENTIALS")
        jwt, seed = _JWT.search(text), _SEED.search(text)
        if jwt is None or seed is None:
            raise ConfigurationError(
                f"the NATS credentials file {file} has no JWT and nkey seed of a user: "
                f"have it made anew, by `nsc generate creds` for example"
            )
        _, signature = _sign(seed[1], info.get("nonce", ""), file)
        return {"jwt": jwt[1], "sig": signature} if "nonce" in info else {}

    answer({})
    return Login(answer, f"check {file} (JTASK_NATS_CREDENTIALS), which may have expired")


def _read(file: Path, setting: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise ConfigurationError(
            f"the NATS file {file} ({setting}) cannot be read: {reason}"
        ) from None


def _sign(seed: str, nonce: str, file: Path) -> tuple[str, str]:
    """Return the public key of a seed, and a nonce signed with it."""
    try:
        # It has no types.
        nkeys: Any = importlib.import_module("nkeys")
    except ImportError:
        raise ConfigurationError(
            f"the NATS file {file} needs the package nkeys: pip install 'jtask[nkeys]'"
        ) from None
    try:
        pair = nkeys.from_seed(bytearray(seed.encode()))
        public = pair.public_key.decode()
        signature = base64.b64encode(pair.sign(nonce.encode())).decode()
    # What nkeys raises for a text that is no seed depends on where it is wrong.
    except (nkeys.NkeysError, binascii.Error, ValueError, IndexError):
        raise ConfigurationError(f"the NATS file {file} has no nkey seed of a user in it") from None
    if not public.startswith("U"):
        raise ConfigurationError(
            f"the nkey seed in the NATS file {file} is not that of a user: those begin with SU"
        )
    return public, signature
