"""Tasks with caches that act on a stage, and check there that one computes a value under a lock."""

from typing import Any

from stage import stage_of_worker

from jtask import runtime, task
from jtask.cache_policies import INPUTS

SERIALIZABLE, COMMITTED, REFRESHING = "serializable", "committed", "refreshing"
LOCKED = (SERIALIZABLE, REFRESHING)


async def compute(key: int, kind: str) -> str:
    label = f"{kind}-{key}"

    def check() -> str | None:
        same = [f"{one}-{key}" for one in LOCKED]
        others = [run_id for name, run_id in stage.acting() if name in same]
        if kind in LOCKED and any(run_id != runtime.run_id for run_id in others):
            return f"{runtime.run_id} computes the value of {key}, as {others} do"
        return None

    stage = stage_of_worker()
    await stage.perform(label, check)
    return str(runtime.run_id)


TASKS: dict[str, Any] = {
    kind: task(  # type: ignore[call-overload]
        compute,
        name=f"staged-{kind}",
        queue="staged",
        cache_policy=policy - "kind",
        refresh_cache=kind == REFRESHING,
    )
    for kind, policy in {
        SERIALIZABLE: INPUTS.configure(isolation_level="SERIALIZABLE"),
        COMMITTED: INPUTS,
        REFRESHING: INPUTS.configure(isolation_level="SERIALIZABLE"),
    }.items()
}
serializable, committed, refreshing = TASKS.values()
