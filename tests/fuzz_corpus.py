"""What was seen to do harm once, and its relatives: bodies, subjects and header lines.

Each file in `fuzz/corpus` is one body as it is, found by a fuzzer or a person; the others are built
here, as they are too large or too regular to be kept.
"""

import json
from pathlib import Path

_RUN_ID = "01a1fff5-44eb-7316-bfb5-63cd9960aef8"
_HEAD = {"v": 1, "id": _RUN_ID, "task": "add", "name": "add", "ser": "json", "created": 1.7e9}
_ODD_VALUES: tuple[object, ...] = (
    None,
    True,
    -1,
    -0.5,
    10**30,
    10**400,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "9" * 5000,
    "x" * 300_000,
    "\x1b[2J\r\nforged",
    "*",
    ">",
    "a.b",
    [],
    [[]],
    [None] * 1000,
    {},
    {"a": {"b": []}},
)
_FIELDS = (
    "v", "id", "task", "name", "ser", "created", "attempt", "tags", "parent", "headers", "expires",
    "started", "run_time", "history", "blob", "state", "at", "message", "details", "ended",
    "worker", "error", "run_id", "enqueued", "declaration", "chain", "declared", "superseded",
    "paused", "pending", "covered", "queue", "claimed", "queues",
)  # fmt: skip

PLAIN = tuple(
    file.read_bytes() for file in sorted((Path(__file__).parent / "fuzz" / "corpus").glob("*.bin"))
)
"""Bodies that are kept as files."""

ENVELOPES = tuple(
    json.dumps({**_HEAD, name: value}).encode() + b'\n{"a":1,"b":2}'
    for name in _FIELDS
    for value in _ODD_VALUES
)
"""Envelopes, outcomes and records with one field that is odd."""

BODIES = (
    *PLAIN,
    b"",
    b"\n",
    b"\0",
    b"\xff\xfe",
    b"{}",
    b"[]",
    b"null",
    b"[[[]]]",
    b"[{}]",
    b'[["*","Running",1,"add"]]',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"9" * 5000,
    b"-1",
    json.dumps({**_HEAD, "at": 1e300, "message": "x" * 100_000}).encode(),
    b"x" * 900_000,
)
"""Bodies that are no message of jtask."""

TOKENS = (
    b"\x01%d", b"\x0b%d", b"\x0c%d", b"\x1b[31m%d", b"\xff%d", b"\xc3%d", b"*%d", b"run%d", b"$%d",
    b"=%d", b"==%d", b"%d" + b"x" * 700,
)  # fmt: skip
"""Tokens of subjects that name nothing; each takes a number."""

HEADERS = (
    b"",
    b"Jtask-At: %b\r\n" % (b"9" * 5000),
    b"Jtask-At: 99999999999999999999\r\n",
    b"Jtask-At: -1\r\n",
    b"Jtask-Lost: 1x\r\n",
    b"Jtask-Expires: \xff\r\n",
    b"Jtask-Reason: %ff%00\xff\r\n",
    b"Jtask-Key: %ff\xff*\r\n",
    b"Jtask-Part: x/\xc2\xb2\r\n",
)
"""Header lines that are none of jtask's."""
