"""What the server finds fault with (`-ERR` lines): read, and said once."""

import logging

_REMEMBERED = 100
_DENIED_PUBLISH = "Permissions Violation for Publish to "
_DENIED_SUBSCRIBE = "Permissions Violation for Subscription to "

_log = logging.getLogger("jtask")


class Complaints:
    """Log each complaint as a warning once, until `forget`."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, text: str, url: str) -> None:
        """Log one more."""
        level = logging.DEBUG if text in self._said else logging.WARNING
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
        self._said.add(text)
        _log.log(level, "the NATS server at %s says: %s", url, text)

    def forget(self) -> None:
        """Take what comes from now on for new."""
        self._said.clear()


def denied_publish(text: str) -> str | None:
    """Return the subject that we may not publish to, if that is the complaint."""
    return _quoted(text, _DENIED_PUBLISH)


def denied_subscribe(text: str) -> str | None:
    """Return the subject that we may not subscribe to, if that is the complaint."""
    return _quoted(text, _DENIED_SUBSCRIBE)


def _quoted(text: str, prefix: str) -> str | None:
    if not text.startswith(prefix):
        return None
    _, _, rest = text.partition('"')
    return rest.partition('"')[0]
