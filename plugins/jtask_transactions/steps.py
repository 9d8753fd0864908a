"""Steps of a task that its retries and redeliveries do not repeat: `once`."""

import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from jtask.declaration import TaskInfo
from jtask.declaration.definition import is_coroutine_function
from jtask.errors import BrokerError, NotInRun, TransactionError
from jtask.execution.sync_await import run_sync
from jtask.foreign_text import quoted
from jtask.runtime import current_run
from jtask_transactions.ways import AWAITING, BLOCKING

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask.runtime import RunContext
    from jtask_transactions.records import Entry, Values
    from jtask_transactions.ways import Way

P = ParamSpec("P")
T = TypeVar("T")
_NOTE = "jtask_transactions.steps"
_LONGEST_KEY = 2000  # characters


@overload
def once(
    key: str, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, T]: ...
@overload
def once(key: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
def once(key: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function once in a run: a retry or a redelivery of the run gets the value of then.

    The value is recorded with the broker after the function has returned. Until that has happened,
    the function is called again by the next attempt; what it raises is not recorded. A coroutine
    function is awaited: `await once("charge", charge, 42)`.

    Args:
        key: What the step is called; no other step of the task has the same name.
        fn: What to call.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        Any: Its value as it was recorded, the first time too.

    Raises:
        NotInRun: No task executes here.
        ResultError: The value cannot be recorded. Its work is done, so the run is not retried.
        BrokerError: The broker cannot be asked, or the value could not be recorded.
    """
    run = current_run()
    if run is None:
        raise NotInRun(
            f"once({key!r}, ...) belongs inside a task, whose runs it is for: elsewhere use "
            f"`with transaction(key=...)`"
        )
    step = _Step(run, key, fn)
    if _is_asynchronous(fn):
        return step.value(AWAITING, partial(fn, *args, **kwargs), is_async=True)
    return run_sync(step.value(BLOCKING, partial(fn, *args, **kwargs), is_async=False))


class _Step:
    """One step of a run.

    Args:
        run: The run.
        key: What the step is called.
        fn: What does its work.
    """

    def __init__(self, run: "RunContext", key: str, fn: Callable[..., Any]) -> None:
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"the key of a step is a text, not {key!r}")
        if not 0 < len(key) <= _LONGEST_KEY:
            raise ValueError(
                f"the key of a step has 1 to {_LONGEST_KEY} characters, and this has {len(key)}"
            )
        if not callable(fn):
            if inspect.iscoroutine(fn):
                fn.close()  # or Python warns that nobody has awaited it
            raise TypeError(
                f"step {key!r} is a function and its arguments, not {quoted(fn)}: "
                f"write once({key!r}, function, argument) without calling the function"
            )
        self._run, self._key, self._fn = run, key, fn
        self._about = f"step {key!r} of run {run.run_id}"
        # By its key in this process, so that the broker is asked once in an attempt. A direct call
        # has no other attempts than those of this process, and needs no broker.
        self._known: dict[str, Entry] = run.notes.setdefault(_NOTE, {})

    async def value(self, way: "Way", call: Callable[[], Any], *, is_async: bool) -> Any:
        """Return what the step has made, here or earlier.

        Args:
            way: How to wait.
            call: Does its work.
            is_async: Whether that is to be awaited.
        """
        known = self._known.get(self._key)
        if known is None and self._is_kept:
            known = await way.on_io(self._find, self._about)
        if known is None:
            made = await call() if is_async else self._plain(call())
            known = await self._record(made, way)
        # Another thread of the run may have been quicker.
        return self._values().decode(self._known.setdefault(self._key, known))

    @property
    def _is_kept(self) -> bool:
        return self._run.queue is not None

    def _plain(self, made: Any) -> Any:
        if not inspect.isawaitable(made):
            return made
        if inspect.iscoroutine(made):
            made.close()
        raise TypeError(
            f"{self._about}: the function returned something to be awaited: pass the coroutine "
            f"function itself, as in `await once({self._key!r}, fn, argument)`"
        )

    async def _record(self, made: Any, way: "Way") -> "Entry":
        from jtask_transactions.records import new_entry

        values = self._values()
        payload = values.encode(made)
        entry = new_entry(self._key, self._run, values.serializer, payload)
        if not self._is_kept:
            return entry
        try:
            return await way.on_io(partial(self._put, entry), self._about)
        except BrokerError as error:
            error.add_note(f"{self._about} was done and is not recorded: it may be done again")
            raise

    async def _find(self, client: "Client") -> "Entry | None":
        from jtask_transactions.records import STEPS, find

        return await find(client.broker, STEPS, self._name, self._about)

    async def _put(self, entry: "Entry", client: "Client") -> "Entry":
        from jtask.settings import settings_of
        from jtask_transactions.records import STEPS, check_size
        from jtask_transactions.settings import TransactionSettings

        check_size(entry.payload, client.inline_limit, self._about)
        ttl = settings_of(TransactionSettings).step_ttl
        records = client.broker.records
        if await records.put(STEPS, self._name, entry.encode(), revision=0, ttl=ttl):
            return entry
        # The run executes elsewhere too, its lease was lost, say: the first value counts.
        found = await self._find(client)
        if found is None:
            raise TransactionError(f"the record of {self._about} has just ended")
        return found

    @property
    def _name(self) -> str:
        from jtask_transactions.records import record_name

        return record_name(self._run.run_id, self._key)

    def _values(self) -> "Values":
        from jtask_transactions.records import Values

        about = f"the value of {self._about}"
        return Values(about, _annotated(self._fn), self._run.task.serializer)


def _annotated(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function whose return annotation says what the value is."""
    from jtask_transactions.records import anything

    plain: Any = fn.fn if isinstance(fn, TaskInfo) else fn
    while isinstance(plain, partial):
        plain = plain.func
    # A class, and what is written in C, says nothing of the kind.
    return plain if inspect.isfunction(plain) or inspect.ismethod(plain) else anything


def _is_asynchronous(fn: Callable[..., Any]) -> bool:
    return fn.is_async if isinstance(fn, TaskInfo) else is_coroutine_function(fn)
