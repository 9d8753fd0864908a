"""A long fuzz by hand: `python tests/fuzz/long_run.py 1000000`.

Most inputs go to each decoder, and a share of them as raw messages to a live worker and caller on a
real server. It ends at the first crash or hang, and prints counts and memory as it goes.
"""

import argparse
import contextlib
import gc
import json
import logging
import os
import random
import resource
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("JTASK_URL", "embedded://")
os.environ.setdefault("JTASK_HOME", tempfile.mkdtemp(prefix="jtask-fuzz-"))

from decoders import DECODERS
from fuzz_corpus import BODIES, ENVELOPES, HEADERS, TOKENS
from raw_messages import run_id_bytes, send_raw

from jtask import task
from jtask.ids import get_run_ids
from jtask.testing import run_worker

_SEEDS = tuple(body for body in (*BODIES, *ENVELOPES, *HEADERS) if len(body) < 5000)
_PIECES = (
    b"\0", b"\xff", b"\x1b[2J", b"\r\n", b"\n", b"*", b">", b"{", b"[", b'"', b"null", b"-1",
    b"1e999", b"NaN", b"9" * 40, b"\xed\xa0\x80", b'"v":1,', b"MSG ", b" 1 -5\r\n",
)  # fmt: skip
_BATCH = 20_000
_LIVE = 2_000  # of each batch, to the live worker and caller


@task(key="add", queue="add")
def add(a: int, b: int) -> int:
    return a + b


def mutated(rng: random.Random) -> bytes:
    body = bytearray(rng.choice(_SEEDS))
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(body))
        match rng.randint(0, 4):
            case 0:
                body[at:at] = rng.choice(_PIECES)
            case 1:
                del body[at : at + rng.randint(1, 8)]
            case 2:
                body[at : at + 1] = rng.randbytes(1)
            case 3:
                other = rng.choice(_SEEDS)
                body[at:] = other[rng.randint(0, len(other)) :]
            case _:
                body[at : at + 4] = rng.choice(_PIECES)
    return bytes(body)


def decode_many(rng: random.Random, count: int) -> None:
    for _ in range(count):
        body = mutated(rng)
        for decode in DECODERS:
            try:
                decode(body)
            except BaseException:
                print("crashed by", json.dumps(body.decode("latin-1")))
                raise


def send_many(rng: random.Random, count: int) -> None:
    ns, client = b"jtask.default.", get_run_ids().client.encode()
    topics = (b"cancel", b"cancelling", b"held-runs", b"cancelled-runs", b"purged-queues")
    groups: dict[tuple[bytes, bytes], list[bytes]] = {}
    for _ in range(count):
        token = rng.choice(TOKENS) % rng.randint(0, 99)
        subject = rng.choice(
            (
                b"q.add.0." + run_id_bytes(), b"q.add.0." + token,
                b"q.add.%d.x" % rng.randint(0, 99),
                b"s.add.0." + token, b"o.%b.%b" % (client, run_id_bytes()),
                b"o.%b.%b" % (client, token), b"c.ask." + rng.choice(topics), b"c.priority",
                b"c.held", b"e.f", b"w.x", b"k.cancellations." + token, b"k.schedules." + token,
                b"k.=pauses." + token, b"k.replays." + token, b"d.add." + token, b"b.x." + token,
                b"r.%b.%b" % (client, token),
            )
        )  # fmt: skip
        lines = rng.choice(HEADERS) if rng.random() < 0.3 else b""
        groups.setdefault((ns + subject, lines), []).append(mutated(rng))
    for (subject, lines), bodies in groups.items():
        send_raw(subject, *bodies, headers=lines, wait=False)
    send_raw(ns + b"c.held", b"")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("inputs", type=int)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--minutes", type=float, default=600.0)
    given = parser.parse_args()
    logging.getLogger("jtask").setLevel(logging.CRITICAL)
    rng, began, done = random.Random(given.seed), time.monotonic(), 0
    print(f"seed {given.seed}", flush=True)
    with run_worker(add, concurrency=4) as worker:
        while done < given.inputs and time.monotonic() < began + 60 * given.minutes:
            decode_many(rng, _BATCH - _LIVE)
            send_many(rng, _LIVE)
            done += _BATCH
            assert add.delay(done, 1).result(60) == done + 1
            assert worker.problem() is None
            report(done, time.monotonic() - began)
    print("all held", done, flush=True)


def report(done: int, seconds: float) -> None:
    gc.collect()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    facts: dict[str, Any] = {"inputs": done, "seconds": round(seconds), "peak_mib": peak}
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        facts["rss_mib"] = pages * resource.getpagesize() >> 20
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
