"""Turn a NATS server's errors into those of jtask. Numbers: errors.json of nats-server (ADR-7)."""

from collections.abc import Mapping
from typing import Any

from jtask.errors import (
    BrokerError,
    BrokerFull,
    BrokerUnavailable,
    MessageRefused,
    PermissionDenied,
)

WRONG_LAST_SEQUENCE = 10071
INCOMPLETE_BATCH = 10176
DUPLICATE_IN_BATCH = 10201
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
CONSUMERS_FULL = 10026

_GONE = {10037, 10043}  # no such message, no such sequence
_DELETE_FAILED = 10057  # its description is the store's own error
_GONE_WORDS = ("no message found", "stream store EOF")  # the latter beyond a file's last message
_STORE_FAILED = 10077  # its description is the store's own error
_NO_ROOM = (
    "make room there, or let it store more: by max_file_store and max_memory_store of its "
    "JetStream, the limits of your account, or JTASK_SERVER_STORE_LIMIT of the embedded server"
)
_WAYS_OUT = {
    CONSUMERS_FULL: "each priority of a queue needs one: give tasks a common queue (`queue=`), "
    "spread the queues (JTASK_NATS_STREAMS), or raise max_consumers of the stream or account",
    10002: _NO_ROOM,
    10023: _NO_ROOM,
    10028: _NO_ROOM,
    # Its description keeps the store's own error to itself.
    10049: "its disk may be full: its log says why; make room",
    # Not of a message: of a stream with a size of its own, such as events.
    10047: "it may store less than this stream may take: raise max_file_store of its JetStream, or "
    "JTASK_SERVER_STORE_LIMIT where it is the embedded one",
}
_FULL = {10002, 10023, 10028, 10047, 10049}  # of the account, of the server; memory, disk
# Also the number of a stream with discard=new that is full, which is not a full broker: only the
# words tell.
_FULL_WORDS = ("no space", "disk", "resource", "maximum bytes")
# In a cluster: a copy of the message, or another one for its subject, is on its way to the other
# servers. Sent again, the message learns what came of that.
_IN_PROCESS = {10158, 10164}
# Servers that have just started do not know each other, no leader yet, sequence check not ready
# yet, a torn batch, too many batches in flight.
_TRANSIENT = {10005, 10008, 10009, 10163, INCOMPLETE_BATCH, 10210, 10211} | _IN_PROCESS
_ACCESS_WORDS = ("authorization violation", "authentication", "permissions violation")
# The server gave up waiting for a login, of a process that was too busy to send it.
_NOT_IN_TIME = "authentication timeout"


class ApiError(BrokerError):
    """JetStream refused a request.

    Args:
        code: Like an HTTP status.
        err_code: JetStream's own number for the reason.
        description: JetStream's own words.
        asked: The subject of the request.

    Attributes:
        code: As above; likewise the next two.
        err_code: Decide by this one; the code is shared by many errors.
        description: For people.
    """

    def __init__(self, code: int, err_code: int, description: str, asked: str = "") -> None:
        of = f" of {asked}" if asked else ""
        hint = f"; {_WAYS_OUT[err_code]}" if err_code in _WAYS_OUT else ""
        super().__init__(
            f"JetStream refused the request{of}: {description} (error {err_code}){hint}"
        )
        self.code = code
        self.err_code = err_code
        self.description = description
        self._asked = asked

    def __reduce__(self) -> tuple[Any, ...]:
        # As it was made: Python would call the class with the sentence alone.
        return type(self), (self.code, self.err_code, self.description, self._asked)


class StoreFull(ApiError, BrokerFull):
    """JetStream has no room for a message."""


class ConnectionClosed(BrokerUnavailable):
    """The connection was closed for good, by ourselves: to try again is useless."""


def is_gone(error: ApiError) -> bool:
    """Tell whether a message could not be deleted because it was not there any more."""
    if error.err_code == _DELETE_FAILED:
        return any(words in error.description for words in _GONE_WORDS)
    return error.err_code in _GONE


def api_error(error: Mapping[str, object], asked: str = "") -> ApiError:
    """Make the exception for the `error` object of a JetStream answer.

    Args:
        error: `code`, `err_code` and `description`; each may be missing.
        asked: The subject of the request.
    """
    code, err_code = _integer(error.get("code")), _integer(error.get("err_code"))
    description = str(error.get("description", "no reason given"))
    kind = StoreFull if _says_full(err_code, description) else ApiError
    return kind(code, err_code, description, asked)


def is_transient(error: BrokerError) -> bool:
    """Tell whether what was refused like this is likely to be taken a moment later."""
    # No ApiError: nobody answered (503), because the stream has no leader just now perhaps.
    return not isinstance(error, ApiError) or error.err_code in _TRANSIENT


def is_access_error(text: str) -> bool:
    """Tell whether a server's words mean that it doesn't let this user in."""
    lowered = text.lower()
    if _NOT_IN_TIME in lowered:
        return False
    if "alert" in lowered:  # of TLS: what a server says of our certificate
        return "certificate" in lowered or "unknown ca" in lowered
    return any(word in lowered for word in _ACCESS_WORDS)


def unreachable(url: str, seconds: float, reason: str) -> BrokerUnavailable:
    """Make the exception for a server that could not be reached in time."""
    if "certificate verify failed" in reason:
        return BrokerUnavailable(
            f"the certificate of the NATS server at {url} is not trusted ({reason}); "
            f"{_trust(reason)}"
        )
    return BrokerUnavailable(
        f"no NATS server answered at {url} within {seconds:g} s ({reason}); "
        f"start one there, or point JTASK_URL to a running one"
    )


def _trust(reason: str) -> str:
    if "expired" in reason or "not yet valid" in reason:
        return "have it renewed, or set the clock of this machine"
    if "mismatch" in reason or "not valid for" in reason:
        return "use a name in JTASK_URL that it is for"
    return "set JTASK_NATS_CA to the file of the CA that signed it"


def access_refused(url: str, reason: str, way_out: str) -> PermissionDenied:
    """Make the exception for a server that refused the user."""
    if "certificate" in reason or "unknown ca" in reason:
        way_out = "check the files in JTASK_NATS_CLIENT_CERTIFICATE and JTASK_NATS_CLIENT_KEY"
    return PermissionDenied(f"the NATS server at {url} refused this user ({reason}); {way_out}")


def certificate_wanted(url: str) -> PermissionDenied:
    """Make the exception for a server that lets in nobody without a certificate."""
    return PermissionDenied(
        f"the NATS server at {url} lets in clients with a certificate only: set "
        "JTASK_NATS_CLIENT_CERTIFICATE and JTASK_NATS_CLIENT_KEY"
    )


def no_answer(subject: str, url: str, seconds: float, state: str) -> BrokerUnavailable:
    """Make the exception for a message or request that was not answered in time."""
    return BrokerUnavailable(
        f"the NATS server at {url} did not answer on {subject} within {seconds:g} s ({state})"
    )


def not_ready(subject: str, url: str, seconds: float, refusal: ApiError) -> BrokerUnavailable:
    """Make the exception for a request that a server refused only for now, all the time."""
    return BrokerUnavailable(
        f"the NATS server at {url} could not carry out {subject} within {seconds:g} s (the last "
        f"answer: {refusal.description}, error {refusal.err_code})"
    )


def not_stored(
    subject: str, url: str, seconds: float, refusal: ApiError | None
) -> BrokerUnavailable:
    """Make the exception for a message that a server, though connected, did not store in time.

    Args:
        subject: Of the message.
        url: The server.
        seconds: How long it was tried.
        refusal: What it said each time; None for no answer.
    """
    said = "no answer"
    if refusal is not None:
        said = f"the last answer: {refusal.description}, error {refusal.err_code}"
    # A store that could not write once answers nothing more, also when there is room again.
    return BrokerUnavailable(
        f"the NATS server at {url} did not store the message for {subject} within {seconds:g} s "
        f"(connected; {said}): its log says why; if its disk was full, make room and restart it, "
        "the embedded one with `jtask server stop`"
    )


def no_stream(subject: str, url: str) -> BrokerUnavailable:
    """Make the exception for a message that no stream took."""
    return BrokerUnavailable(
        f"no stream on the NATS server at {url} accepted the message for {subject}: "
        "JetStream is off or still starting there, or the stream is gone or has no leader"
    )


def not_permitted(action: str, subject: str, url: str) -> PermissionDenied:
    """Make the exception for one subject that the user may not use."""
    return PermissionDenied(
        f"the NATS server at {url} does not permit this user to {action} {subject}; "
        "grant it in the server's configuration"
    )


def inbox_not_permitted(subject: str, url: str) -> PermissionDenied:
    """Make the exception for answers that the user may not receive."""
    return PermissionDenied(
        f"the NATS server at {url} does not permit this user to subscribe to {subject}, where "
        "answers arrive; set JTASK_NATS_INBOX_PREFIX to what it permits, or grant it in its "
        "configuration"
    )


def too_large(subject: str, size: int, limit: int) -> MessageRefused:
    """Make the exception for a message that the server would drop the connection for."""
    return MessageRefused(
        f"the message for {subject} has {size} bytes including headers, "
        f"but the server accepts at most {limit} (max_payload); nothing was sent"
    )


def _says_full(err_code: int, description: str) -> bool:
    if err_code in _FULL:
        return True
    lowered = description.lower()
    return err_code == _STORE_FAILED and any(word in lowered for word in _FULL_WORDS)


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0
