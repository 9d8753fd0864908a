"""What a task's options say about its cache, and the key of a run."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jtask.argument_keys import filled_in
from jtask.cache_policies import NO_CACHE, CacheKeyFnPolicy, CachePolicy, IsolationLevel
from jtask.runtime import executing, flow_run
from jtask.runtime.flow_runs import flow_run_around
from jtask.settings import settings_of
from jtask_caching.settings import CacheSettings

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo
    from jtask.runtime import RunContext

_LONGEST_KEY = 2000  # characters


class Plan(NamedTuple):
    """How the runs of a task are cached.

    Attributes:
        policy: Computes the key.
        expiration: Seconds for which a value is kept; None keeps it until it is deleted.
        refreshes: Whether to execute although a value is kept.
        is_serializable: Whether one of several runs with the same key is executed.
    """

    policy: CachePolicy
    expiration: float | None
    refreshes: bool
    is_serializable: bool


def plan_of(task: "TaskInfo[..., object]") -> Plan | None:
    """Return how the runs of a task are cached; None when they are not."""
    options: Any = task.options
    if options["persist_result"] is False:
        return None
    policy = _policy_of(options)
    if policy is None or policy is NO_CACHE:
        return None
    refreshes = options["refresh_cache"]
    if refreshes is None:
        refreshes = settings_of(CacheSettings).default_refresh_cache
    is_serializable = policy.isolation_level is IsolationLevel.SERIALIZABLE
    return Plan(policy, options["cache_expiration"], refreshes, is_serializable)


def key_of(plan: Plan, run: "RunContext") -> str | None:
    """Return the key of a run; None leaves it uncached.

    Raises:
        TypeError: The policy returned what is no key, or an argument cannot be part of one.
        ValueError: Likewise.
    """
    around = flow_run_around(run)
    flow_parameters = (around and around.parameters) or {}
    # A policy may ask `jtask.runtime`, as the task does.
    with executing(run):
        key: Any = plan.policy.compute_key(run, run.parameters, flow_parameters)
    if key is None:
        return None
    if not isinstance(key, str):
        raise TypeError(f"the key must be a text or None, got {type(key).__name__}")
    if not 0 < len(key) <= _LONGEST_KEY:
        raise ValueError(f"the key has {len(key)} characters, and must have 1 to {_LONGEST_KEY}")
    return key


def _policy_of(options: Mapping[str, Any]) -> CachePolicy | None:
    if (template := options["result_storage_key"]) is not None:
        return CacheKeyFnPolicy(partial(_filled_in, template))
    if (function := options["cache_key_fn"]) is not None:
        policy = CacheKeyFnPolicy(function)
        given: CachePolicy | None = options["cache_policy"]
        return policy if given is None else policy.configure(isolation_level=given.isolation_level)
    policy_given: CachePolicy | None = options["cache_policy"]
    return policy_given


def _filled_in(template: str, run: "RunContext", parameters: Mapping[str, Any]) -> str:
    known = {"task_run": run, "flow_run": flow_run, "parameters": parameters}
    return filled_in(template, known)
