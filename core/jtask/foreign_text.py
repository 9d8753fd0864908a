r"""Text that somebody else wrote, made fit to be sent, shown and quoted.

A message, a record, a file's name or an exception may hold anything: control characters that a
terminal obeys, line ends that forge a line of a log, halves of characters that UTF-8 cannot carry,
megabytes.
"""

import re

QUOTED = 80
"""Characters of a value that a sentence quotes."""

# C0 and C1 controls, DEL, and what reorders or hides the text around it (bidirectional marks, line
# and paragraph separators, zero-width blanks).
_UNSHOWN = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
_IN_LINES = re.compile(f"[{_UNSHOWN}\ud800-\udfff]")
_IN_A_LINE = re.compile(f"[{_UNSHOWN}\t\n\ud800-\udfff]")


def shown(text: str) -> str:
    r"""Return text for one line of a terminal or a log: what could act there is written as \x1b."""
    return _IN_A_LINE.sub(_escape, text)


def shown_lines(text: str) -> str:
    """Do `shown` for text that may have several lines and tabs."""
    return _IN_LINES.sub(_escape, text)


def shown_json(line: str) -> str:
    """Do `shown` for JSON, which stays the same JSON."""
    return _IN_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def sendable(text: str) -> str:
    r"""Return text that UTF-8 can carry: half a character is written as \udc80."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def cut(text: str, length: int) -> str:
    """Return the beginning of a text, with dots where more was left out."""
    return text if len(text) <= length else f"{text[:length]}..."


def quoted(value: object) -> str:
    """Return a value as an error quotes it: in one line of bounded length, whatever it is."""
    if isinstance(value, str | bytes):
        kept = value[:QUOTED]
        more = f"... ({len(value)} in all)" if len(value) > QUOTED else ""
        return shown(f"{kept!r}{more}")
    if isinstance(value, list | dict | tuple):
        return f"a {type(value).__name__} of {len(value)}"  # pyright: ignore
    # Python refuses to write integers of thousands of digits.
    if isinstance(value, int) and value.bit_length() > 256:
        return "an integer of hundreds of digits"
    return shown(cut(repr(value), QUOTED))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    short = {9: "\\t", 10: "\\n", 13: "\\r"}.get(code)
    return short or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
