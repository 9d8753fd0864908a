"""Which nats-server versions will do."""

import re

from jtask.errors import BrokerTooOld

FLOOR = "2.14.0"
REASON = "cron schedules and fast ingest (2.14), atomic batches and delayed messages (2.12)"
# Unanchored at the end: a release candidate (2.14.0-RC.1) has the features of its release.
_NUMBERS = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")


def check_version(version: str, source: str = "") -> None:
    """Refuse a server that lacks something jtask needs.

    Args:
        version: As the server's INFO or `nats-server --version` gives it; a release candidate
            counts as its release.
        source: Where the server is (a path, a URL), for the message.

    Raises:
        BrokerTooOld: Older than FLOOR, or not a version at all.
    """
    found = _numbers(version)
    if found is None or found < _FLOOR_NUMBERS:
        where = f" ({source})" if source else ""
        raise BrokerTooOld(
            f"nats-server {version or 'of unknown version'}{where} is too old: jtask needs "
            f"{FLOOR} or newer for {REASON}; update the server"
        )


def _numbers(version: str) -> tuple[int, int, int] | None:
    match = _NUMBERS.match(version)
    if match is None:
        return None
    major, minor, patch = match.groups(default="0")
    return int(major), int(minor), int(patch)


_FLOOR_NUMBERS = _numbers(FLOOR) or (0, 0, 0)
