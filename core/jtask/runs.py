"""The caller's handle on a run."""

import weakref
from dataclasses import replace
from typing import Any, Protocol, TypeVar, cast

from jtask.declaration.task_info import TaskInfo, is_internal
from jtask.errors import JTaskError, ResultMissing, SerializationError, reworded
from jtask.futures.future import Future
from jtask.outcomes import CANCEL_MESSAGE, CancelAnswer, SettledRun
from jtask.run_streams import Stream, StreamSource
from jtask.serialization.codecs import codecs_of
from jtask.serialization.results import read_untyped
from jtask.states import State
from jtask.wire.envelope import decode_outcome, plain_value
from jtask.wire.failures import error_of
from jtask.wire.progress import Progress

R = TypeVar("R")
T = TypeVar("T")
_INTERNAL = frozenset({"follow", "is_stored", "resolve", "sibling"})


class RunSource(StreamSource, Protocol):
    """Where handles get what they are asked for: this process's link to the broker.

    The coroutines run on the I/O loop, by `run` or `bridge`.
    """

    async def find_state(self, run: "Run[Any]") -> State:
        """Return where a run stands that is not known to be over."""
        ...

    async def explain_wait(self, run: "Run[Any]") -> str:
        """Return why a run has not ended, if that is a reason to act; else an empty text."""
        ...

    async def load_blob(self, record: SettledRun) -> bytes:
        """Return a result that is kept as a blob."""
        ...

    async def cancel(self, run_id: str, message: str) -> CancelAnswer:
        """End a run, wherever it is."""
        ...

    def fetch_end(self, run: "Run[Any]", timeout: float | None) -> None:
        """Resolve a handle if its run ends in a moment, for which this thread blocks."""
        ...

    async def fetch_end_async(self, run: "Run[Any]", timeout: float | None) -> None:
        """Do what `fetch_end` does without blocking the event loop."""
        ...

    def expect(self, run: "Run[Any]") -> None:
        """Resolve a handle when its run ends; returns at once."""
        ...

    def hold(self, run: "Run[Any]") -> None:
        """Resolve a handle when its run ends, and keep the handle alive until then."""
        ...


class Run(Future[R]):
    """A run in the background: its id, where it stands, and its result once it is over.

    Returned by `.delay()`; `get_run(run_id)` makes one for a run of any process. Handles of the
    same run are equal.

    Args:
        run_id: The run.
        source: Where it is asked for.
        task: Its task, which says how the result is read; None reads plain JSON.
    """

    __slots__ = ("_leader", "_settled", "_source", "_task", "is_stored")
    # As it came, and decoded when somebody asks for more than the end itself.
    _end: bytes | None

    def __init__(
        self, run_id: str, source: "RunSource", task: TaskInfo[..., R] | None = None
    ) -> None:
        # Not super(), which takes a quarter of the time: many handles are made at once.
        Future.__init__(self, run_id)  # pyright: ignore[reportUnknownMemberType]
        self._source = source
        self._task = task
        self._settled: SettledRun | None = None
        self._leader: Run[Any] | None = None
        self.is_stored = False
        """Whether this process has stored the run, or is about to. For the client only."""

    def __repr__(self) -> str:
        name = self._task.name if self._task else "?"
        state = f" {self._record.state.name}" if self._end is not None else ""
        return f"<run {self.run_id} of {name!r}{state}>"

    def __dir__(self) -> list[str]:
        # What a console completes: not what only jtask itself uses.
        return [name for name in super().__dir__() if not is_internal(name, _INTERNAL)]

    @property
    def task(self) -> TaskInfo[..., R] | None:
        """Its task; None where that is not known."""
        return self._task

    @property
    def info(self) -> SettledRun | None:
        """Everything stored about the run; None until it is known here to be over."""
        return None if self._end is None else replace(self._record, state=self._final_state())

    @property
    def state(self) -> State:
        """Where the run stands now; asks the broker until the run is over.

        A state that waits has `queue` and, for a time to come, `until` in its `details`. Of a
        final one, `state.result()` returns the run's value or raises its exception.

        Raises:
            RunNotFound: There is no such run; `ResultExpired` when it may have been over for long.
            BrokerError: The broker cannot be asked.
        """
        if self._end is None:
            return self._source.run(self._source.find_state(self))
        return self._final_state()

    async def state_async(self) -> State:
        """Do what `state` does without blocking the event loop."""
        if self._end is None:
            return await self._source.bridge(self._source.find_state(self))
        return self._final_state()

    def stream(self, start: int = 0) -> Stream[R]:
        """Return the items of a generator as they come: for `for`, or for `async for`.

        Args:
            start: How many items to leave out: those that were read before.
        """
        return Stream(self, self._source, self._task, start)

    def progress(self) -> Progress | None:
        """Return the latest that the run has said of its progress; None if it has said nothing."""
        return self._source.run(self._source.find_progress(self.run_id))

    async def progress_async(self) -> Progress | None:
        """Do what `progress` does without blocking the event loop."""
        return await self._source.bridge(self._source.find_progress(self.run_id))

    def cancel(self, message: str = CANCEL_MESSAGE) -> CancelAnswer:
        """End the run, wherever it is; see `jtask.futures.Future.cancel`.

        Raises:
            BrokerError: The broker cannot be asked; the run may end all the same.
        """
        return self._source.run(self._source.cancel(self.run_id, message))

    async def cancel_async(self, message: str = CANCEL_MESSAGE) -> CancelAnswer:
        """Do what `cancel` does without blocking the event loop."""
        return await self._source.bridge(self._source.cancel(self.run_id, message))

    def follow(self, leader: "Run[Any]") -> None:
        """Be settled along with another handle of the same run. For the client only."""
        if self._leader is leader:
            return
        self._leader = leader  # kept alive here, for the client holds its handles weakly
        # Weak the other way: a handle that nobody keeps must not live as long as its leader.
        take_over = weakref.WeakMethod(self._take_over)

        def pass_on(trouble: JTaskError | None = None) -> None:
            if (method := take_over()) is not None:
                method(trouble)

        if not leader.when_over(pass_on):
            pass_on()

    def sibling(self, run_id: str) -> "Run[R]":
        """Return a handle on another run of the same task. For the client only."""
        return Run(run_id, self._source, self._task)

    def resolve(self, body: bytes) -> None:
        """Take the stored outcome; the first one counts. For the client only."""
        self._settle(body)

    def expect(self) -> None:
        """See to it that the handle is resolved when its run ends; returns at once."""
        self._source.expect(self)

    def _take_over(self, trouble: JTaskError | None = None) -> None:
        # What was followed has forgotten this handle: who waits again follows again.
        leader, self._leader = self._leader, None
        if trouble is not None:
            self.fail_waiters(trouble)
        elif leader is not None:
            self.resolve(cast("bytes", leader._end))

    def _fetch_end(self, timeout: float | None) -> None:
        self._source.fetch_end(self, timeout)

    async def _fetch_end_async(self, timeout: float | None) -> None:
        await self._source.fetch_end_async(self, timeout)

    def _hold(self) -> None:
        self._source.hold(self)

    def _final_state(self) -> State:
        # A copy: the stored one would hold this handle, and the handle holds it.
        return replace(self._record.state, load=self._value)

    def _value(self, raise_on_failure: bool) -> R:
        if (plain := self._plain_value()) is not None:
            return cast("R", self._decode(plain, "json"))
        record = self._record
        blob = record.blob is not None
        payload = self._source.run(self._source.load_blob(record)) if blob else record.payload
        return self._unpack(payload, raise_on_failure=raise_on_failure)

    async def _value_async(self, raise_on_failure: bool) -> R:
        if (plain := self._plain_value()) is not None:
            return cast("R", self._decode(plain, "json"))
        record = self._record
        blob = record.blob is not None
        payload = (
            await self._source.bridge(self._source.load_blob(record)) if blob else record.payload
        )
        return self._unpack(payload, raise_on_failure=raise_on_failure)

    def _error(self) -> BaseException | None:
        return error_of(self._record, self._task)

    def _explanation(self) -> str:
        return self._source.run(self._source.explain_wait(self))

    async def _explanation_async(self) -> str:
        return await self._source.bridge(self._source.explain_wait(self))

    @property
    def _record(self) -> SettledRun:
        if self._settled is None:
            self._settled = decode_outcome(cast("bytes", self._end))
        return self._settled

    def _unpack(self, payload: bytes, *, raise_on_failure: bool) -> R:
        record = self._record
        error = error_of(record, self._task)
        if error is None and not payload:
            # Of a direct call: what a worker stores has a payload, even for None.
            error = ResultMissing(f"run {self.run_id}: {record.state.message or 'no result'}")
        if error is None:
            return cast("R", self._decode(payload, record.serializer))
        if raise_on_failure:
            raise error
        return cast("R", error)

    def _plain_value(self) -> bytes | None:
        return plain_value(cast("bytes", self._end)) if self._settled is None else None

    def _decode(self, payload: bytes, serializer: str) -> Any:
        if self._task is not None:
            codecs = codecs_of(self._task)
            try:
                # A pickle is read for a task that declares cloudpickle, and never because a message
                # says so.
                codecs.check(serializer)
                return codecs.result.decode(payload)
            except SerializationError as error:
                if self._record.task_key == self._task.key:
                    raise
                raise reworded(
                    error,
                    f"run {self.run_id} is one of task {self._record.task_key!r}, and is read as "
                    f"one of {self._task.key!r}: {error}",
                ) from error
        if serializer != "json":
            raise JTaskError(
                f"run {self.run_id}: its result is encoded with {serializer!r}, "
                f"which can be read only with the task's own code: "
                f"use the handle that .delay() returned, or get_run(run_id, task)"
            )
        return read_untyped(payload, f"the result of run {self.run_id}")
