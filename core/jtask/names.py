"""What may stand in an address of any broker, and in a message: names and priorities."""

import re

TOP_PRIORITY = 9
LONGEST_NAME = 1024
"""Characters of what names something in a message: ids, keys, names, versions, workers."""
# One token of an address: without the dots, blanks and wildcards of a NATS subject.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")


def is_name(value: str) -> bool:
    """Tell whether a broker can use a string as a task's key or a queue's name."""
    return _NAME.fullmatch(value) is not None
