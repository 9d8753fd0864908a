"""The server's errors (`-ERR` lines): read, and logged once each."""

import contextlib
import logging

_REMEMBERED = 100  # texts of errors; each may name another subject, and subjects are many
_DENIED_PUBLISH = "Permissions Violation for Publish to "
_DENIED_SUBSCRIBE = "Permissions Violation for Subscription to "

_log = logging.getLogger("jtask")


class ServerErrors:
    """Log each error as a warning once, until `forget`."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def log(self, text: str, url: str) -> None:
        """Log one error; as debug when it was logged before."""
        self.log_line(f"the NATS server at {url} reports: {text}")

    def log_line(self, line: str) -> None:
        """Log what keeps us from a server; as debug when it was logged before."""
        level = logging.DEBUG if line in self._logged else logging.WARNING
        if len(self._logged) >= _REMEMBERED:
            self._logged.clear()
        self._logged.add(line)
        say(_log, level, "%s", line)

    def reset(self) -> None:
        """Log every error as new from now on."""
        self._logged.clear()


def say(log: logging.Logger, level: int, text: str, *args: object) -> None:
    """Log a line, whatever a handler of the log raises: it must not cost a connection.

    Args:
        log: Where.
        level: Of the line.
        text: The line.
        args: What is put into it.
    """
    with contextlib.suppress(Exception):
        log.log(level, text, *args)


def denied_publish(text: str) -> str | None:
    """Return the subject that we may not publish to, if that is the error."""
    return _quoted(text, _DENIED_PUBLISH)


def denied_subscribe(text: str) -> str | None:
    """Return the subject that we may not subscribe to, if that is the error."""
    return _quoted(text, _DENIED_SUBSCRIBE)


def _quoted(text: str, prefix: str) -> str | None:
    if not text.startswith(prefix):
        return None
    _, _, rest = text.partition('"')
    return rest.partition('"')[0]
