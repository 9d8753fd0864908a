"""Tasks with limits that act on a stage, and check there that no limit is exceeded."""

import json
import math
import time
from pathlib import Path
from typing import Any

from stage import stage_of_worker

from jtask import runtime, task

OWN_LIMIT = 2
TAG = "scarce"
RETRY_SECONDS = 0.5
READ_AGO = 1.1  # seconds: a process takes what it has read of a limit for true so long, and a bit


class LimitHistory:
    """Which limit the tag had when, as far as whoever changes it knows: longer rather than shorter.

    Args:
        file: Where it is kept.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def change(self, limit: float) -> None:
        """Note that another limit may be in force from now on; math.inf is none."""
        now = time.time()
        self._write([*self._read(), [now, math.inf, limit]])

    def is_changed(self) -> None:
        """Note that those before the last one are in force no more."""
        now, entries = time.time(), self._read()
        self._write(
            [[begin, min(end, now), limit] for begin, end, limit in entries[:-1]] + entries[-1:]
        )

    def since(self, at: float) -> list[float]:
        """Return the limits that may have been in force since some time."""
        return [limit for _, end, limit in self._read() if end >= at]

    def _read(self) -> list[list[float]]:
        found: list[list[float]] = json.loads(self._file.read_text()) if self._file.exists() else []
        return found

    def _write(self, entries: list[list[float]]) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_text(json.dumps(entries))
        draft.rename(self._file)


async def _act(kind: str, *, has_own: bool, is_tagged: bool) -> None:
    stage = stage_of_worker()
    limits = LimitHistory(stage.folder / "limits").since(runtime.created_at - READ_AGO)
    # One that may have begun without a slot of the tag's holds none for certain.
    has_slot = is_tagged and math.inf not in limits
    label = f"{kind}-holding" if has_slot else kind

    def check() -> str | None:
        acting = [name for name, run_id in stage.acting() if run_id != runtime.run_id]
        own = sum(name.split("-")[0] == kind for name in acting)
        if has_own and own >= OWN_LIMIT:
            return f"{own + 1} runs of {kind} execute at once"
        holding = sum(name.endswith("-holding") for name in acting)
        if has_slot and holding >= max(limits):
            return f"{holding + 1} runs with the tag execute at once, and {limits} do at most"
        return None

    await stage.perform(label, check)


def _task(kind: str, **options: Any) -> Any:
    async def act() -> None:
        await _act(kind, has_own="limit" in options, is_tagged="tags" in options)

    return task(act, name=f"staged-{kind}", queue="staged", **options)  # type: ignore[call-overload]


own = _task("own", limit=OWN_LIMIT)
tagged = _task("tagged", tags=[TAG])
both = _task("both", limit=OWN_LIMIT, tags=[TAG])
retried = _task("retried", limit=OWN_LIMIT, retries=1, retry_delay_seconds=RETRY_SECONDS)
