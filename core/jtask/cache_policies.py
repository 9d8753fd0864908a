"""What makes two runs the same work: the values of `@task(cache_policy=...)`.

Names and meanings are Prefect's. A policy computes a key; a run whose key is known is not executed,
and gets the value that was kept under it. Policies are put together with `+`, and `-` leaves out a
parameter: `INPUTS + TASK_SOURCE - "debug"`.
"""

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from jtask.runtime import RunContext

CacheKeyFn = Callable[["RunContext", dict[str, Any]], str | None]


class IsolationLevel(StrEnum):
    """What happens when runs with one key come at the same time."""

    READ_COMMITTED = "READ_COMMITTED"
    """Each is executed, and the last value stands."""
    SERIALIZABLE = "SERIALIZABLE"
    """One is executed, the others wait for its value."""

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise ValueError(f"there is no isolation level {value!r}: use {' or '.join(cls)}")


class CachePolicy(ABC):
    """What a key is made of; subclasses compute it."""

    isolation_level: IsolationLevel | None = None

    @abstractmethod
    def compute_key(
        self,
        task_ctx: "RunContext",
        inputs: Mapping[str, Any],
        flow_parameters: Mapping[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return the key of a run; None leaves it uncached.

        Args:
            task_ctx: The run.
            inputs: Its arguments by parameter name, defaults included.
            flow_parameters: Those of the flow that it is part of; empty where there is none.
            kwargs: What later versions add.

        Raises:
            TypeError: An input cannot be part of a key.
            ValueError: Likewise.
        """

    def configure(self, *, isolation_level: IsolationLevel | str | None = None) -> Self:
        """Return a copy of this policy that keeps runs apart in another way.

        Args:
            isolation_level: READ_COMMITTED or SERIALIZABLE; None keeps what it was.

        Raises:
            ValueError: There is no such level.
        """
        policy = copy(self)
        if isolation_level is not None:
            policy.isolation_level = IsolationLevel(isolation_level)
        return policy

    def __add__(self, other: "CachePolicy") -> "CachePolicy":
        """Return a policy whose key is made of both keys."""
        if isinstance(other, _NoCache):
            return self
        return _Compound.of(self, _policy(other))

    def __sub__(self, name: str) -> "CachePolicy":
        """Return a policy that leaves out a parameter."""
        raise TypeError(f"{type(self).__name__} looks at no inputs, so there is none to leave out")


class _Facts(NamedTuple):
    run: "RunContext"
    inputs: Mapping[str, Any]
    flow_parameters: Mapping[str, Any]


class _Policy(CachePolicy):
    """One of those below, which look at some of the facts only."""

    def compute_key(
        self,
        task_ctx: "RunContext",
        inputs: Mapping[str, Any],
        flow_parameters: Mapping[str, Any],
        **kwargs: Any,
    ) -> str | None:
        """Return the key of a run; None when this policy adds nothing to it."""
        del kwargs  # what later versions add
        return self._key_of(_Facts(task_ctx, inputs, flow_parameters))

    @abstractmethod
    def _key_of(self, facts: _Facts) -> str | None: ...


class _NoCache(_Policy):
    def _key_of(self, facts: _Facts) -> str | None:
        del facts
        return None

    def __add__(self, other: CachePolicy) -> CachePolicy:
        return _policy(other)

    def __sub__(self, name: str) -> CachePolicy:
        del name
        return self


class _Compound(_Policy):
    def __init__(self, policies: tuple[CachePolicy, ...]) -> None:
        self.policies = policies

    @classmethod
    def of(cls, *policies: CachePolicy) -> "_Compound":
        """Put policies together, those that are put together themselves taken apart."""
        parts = [
            part
            for policy in policies
            for part in (policy.policies if isinstance(policy, _Compound) else (policy,))
        ]
        compound = cls(tuple(parts))
        levels = {p.isolation_level for p in policies if p.isolation_level is not None}
        if len(levels) > 1:
            raise ValueError("policies of two isolation levels cannot be added: configure the sum")
        compound.isolation_level = next(iter(levels), None)
        return compound

    def _key_of(self, facts: _Facts) -> str | None:
        keys = [policy.compute_key(*facts) for policy in self.policies]
        known = [key for key in keys if key is not None]
        return _hash(*known) if known else None

    def __sub__(self, name: str) -> CachePolicy:
        parts = [one - name if isinstance(one, Inputs) else one for one in self.policies]
        if not any(isinstance(one, Inputs) for one in parts):
            raise TypeError("none of these policies looks at inputs, so there is none to leave out")
        compound = copy(self)
        compound.policies = tuple(parts)
        return compound


class Inputs(_Policy):
    """The arguments of the run; the key is the same on every machine.

    Args:
        exclude: Names of parameters to leave out.
    """

    def __init__(self, exclude: tuple[str, ...] = ()) -> None:
        self.exclude = exclude

    def _key_of(self, facts: _Facts) -> str | None:
        counted = {n: value for n, value in facts.inputs.items() if n not in self.exclude}
        return _hash_of(counted) if counted else None

    def __sub__(self, name: str) -> "Inputs":
        """Return a policy that leaves out one more parameter."""
        policy = copy(self)
        policy.exclude = (*self.exclude, _parameter(name))
        return policy


class _TaskSource(_Policy):
    def _key_of(self, facts: _Facts) -> str | None:
        function = inspect.unwrap(facts.run.task.fn)
        try:
            return _hash(inspect.getsource(function))
        except (OSError, TypeError):
            # A callable object's, or one without a file: its code, which another version of Python
            # writes otherwise.
            code = getattr(function, "__code__", None)
            return None if code is None else hashlib.sha256(code.co_code).hexdigest()


class _RunId(_Policy):
    def _key_of(self, facts: _Facts) -> str | None:
        from jtask.runtime.flow_runs import flow_run_around  # imports pydantic

        flow_run = flow_run_around(facts.run)
        if flow_run is not None:
            return flow_run.id
        return facts.run.parent_id or facts.run.run_id


class _FlowParameters(_Policy):
    def _key_of(self, facts: _Facts) -> str | None:
        return _hash_of(facts.flow_parameters) if facts.flow_parameters else None


class CacheKeyFnPolicy(_Policy):
    """A function of the run and its arguments, as `cache_key_fn` gives it.

    Args:
        cache_key_fn: Takes the run and its arguments by name; returns the key, or None.
    """

    def __init__(self, cache_key_fn: CacheKeyFn) -> None:
        self.cache_key_fn = cache_key_fn

    def _key_of(self, facts: _Facts) -> str | None:
        return self.cache_key_fn(facts.run, dict(facts.inputs))


def task_input_hash(context: "RunContext", arguments: Mapping[str, Any]) -> str | None:
    """Return a key of a task, its code and its arguments; a value for `cache_key_fn`."""
    source = TASK_SOURCE.compute_key(context, arguments, {})
    return _hash_of([context.task.key, source, dict(arguments)])


def _policy(value: object) -> CachePolicy:
    if not isinstance(value, CachePolicy):
        raise TypeError(f"a policy can be added to policies only, not {value!r}")
    return value


def _parameter(name: object) -> str:
    # Several in a list would leave none out.
    if not isinstance(name, str):
        raise TypeError(f'one parameter is left out by its name, INPUTS - "name", got {name!r}')
    return name


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def _hash_of(value: Mapping[str, Any] | list[Any]) -> str:
    from jtask.serialization.stable_hash import stable_hash  # imports pydantic

    return stable_hash(dict(value) if isinstance(value, Mapping) else value)


INPUTS: CachePolicy = Inputs()
"""The arguments."""
TASK_SOURCE: CachePolicy = _TaskSource()
"""The source text of the task's function, of this function only."""
RUN_ID: CachePolicy = _RunId()
"""The flow run that the run is part of, else the run that started it, else the run itself."""
FLOW_PARAMETERS: CachePolicy = _FlowParameters()
"""The arguments of the flow that the run is part of, in the process of the flow."""
NO_CACHE: CachePolicy = _NoCache()
"""Nothing: the run is executed."""
NONE = NO_CACHE
DEFAULT: CachePolicy = INPUTS + TASK_SOURCE + RUN_ID
"""The same arguments, the same code, the same flow run or run that started them."""
