"""Who a request comes from, and what it may do. No I/O."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

from starlette.requests import Request

from jtask.errors import ConfigurationError
from jtask_console.access.sessions import COOKIE, Sessions
from jtask_console.settings import ConsoleSettings

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from.

    Attributes:
        name: As the audit log has it.
        role: What they may do.
    """

    name: str
    role: Role

    @property
    def may_act(self) -> bool:
        """Whether they may change anything."""
        return self.role is Role.OPERATOR


Authorize = Callable[[Request], Caller | Role | None]
"""Tells who a request comes from, or only what it may do; None is a stranger."""


class Access:
    """Who may use the console, by its settings.

    Args:
        settings: Those of the console.
        authorize: Tells of those whom the settings do not know.
        is_mounted: Whether it is part of another application, which has an address of its own.

    Raises:
        ConfigurationError: Strangers would reach it, and be asked for nothing.
    """

    def __init__(
        self,
        settings: ConsoleSettings,
        authorize: Authorize | None = None,
        *,
        is_mounted: bool = False,
    ) -> None:
        self._authorize = authorize
        self._tokens: dict[str, str] = {
            role: token.get_secret_value()
            for role, token in (
                (Role.OPERATOR, settings.console_token),
                (Role.VIEWER, settings.console_view_token),
            )
            if token is not None
        }
        self._header = settings.console_user_header
        self._proxies = _names(settings.console_proxies)
        self._operators = _names(settings.console_operators)
        self._is_read_only = settings.console_read_only
        self.sessions = Sessions(self._tokens)
        self.host_names = None if is_mounted else _host_names(settings)
        """The names by which it may be asked for; None are those of the application around it."""
        if not self.is_authenticated and is_mounted:
            raise ConfigurationError(
                "the console cannot be mounted where nobody is asked who they are: give mount() a "
                "function `authorize`, or set JTASK_CONSOLE_TOKEN or JTASK_CONSOLE_USER_HEADER"
            )
        if not self.is_authenticated and not is_loopback(settings.console_host):
            raise ConfigurationError(
                f"the console does not listen on {settings.console_host}, where others reach it "
                f"without a password: set JTASK_CONSOLE_TOKEN, or JTASK_CONSOLE_USER_HEADER behind "
                f"a proxy that authenticates people"
            )

    @property
    def is_authenticated(self) -> bool:
        """Whether people have to say who they are."""
        return self.has_tokens or self._header is not None or self._authorize is not None

    @property
    def has_tokens(self) -> bool:
        """Whether there is something to log in with."""
        return bool(self._tokens)

    def caller(self, request: Request) -> Caller | None:
        """Return who a request comes from; None is a stranger."""
        client = "" if request.client is None else request.client.host
        found = self.known(client, request.headers, request.cookies)
        if found is None and self._authorize is not None:
            found = named_caller(self._authorize(request))
        return self._restricted(found)

    def _restricted(self, found: Caller | None) -> Caller | None:
        if found is not None and self._is_read_only:
            return Caller(found.name, Role.VIEWER)
        return found

    def role_of(self, token: str) -> Role | None:
        """Return what somebody with a token may do; None when that is no token."""
        for role, known in self._tokens.items():
            if hmac.compare_digest(known.encode(), token.encode()):
                return Role(role)
        return None

    def known(
        self, client: str, headers: Mapping[str, str], cookies: Mapping[str, str]
    ) -> Caller | None:
        """Return who the settings say that a request comes from; None is a stranger.

        Args:
            client: The address at the other end of the connection.
            headers: Of the request, by their names in lower case.
            cookies: Of the request.
        """
        if not self.is_authenticated:
            return Caller("local", Role.OPERATOR)
        if self._header is not None and client in self._proxies:
            user = headers.get(self._header.lower(), "").strip()
            if user:
                return Caller(user, self._role_of_user(user))
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            role = self.role_of(token.strip())
        else:
            role = self._role_in(cookies.get(COOKIE, ""))
        return None if role is None else Caller(f"{role} by token", role)

    def _role_in(self, cookie: str) -> Role | None:
        role = self.sessions.role_in(cookie)
        return None if role is None else Role(role)

    def _role_of_user(self, user: str) -> Role:
        may_act = "*" in self._operators or user in self._operators
        return Role.OPERATOR if may_act else Role.VIEWER


def named_caller(answer: Caller | Role | None) -> Caller | None:
    """Return the caller that a function of an application's own has told, with a name."""
    return Caller(str(answer), answer) if isinstance(answer, Role) else answer


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host_names(settings: ConsoleSettings) -> frozenset[str]:
    return _LOCAL_NAMES | _names(settings.console_hosts) | {settings.console_host}


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())
