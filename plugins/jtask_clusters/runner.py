"""The task runner that executes functions elsewhere, and all else here."""

import asyncio
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future as Answer
from typing import Any, Protocol, cast

from jtask.errors import RunCancelled, RunTimedOut, TargetError, TaskDefinitionError
from jtask.futures import Future
from jtask.runtime import RunContext
from jtask.task_runners import Call, Places, Submitted, TaskRunner, ThreadPool, checked_size
from jtask.worker.targets import target_of
from jtask_clusters.remote import RemoteCall

_MOST_AT_ONCE = 100  # each has a thread here that waits for its end


class Sent(Protocol):
    """A call that the cluster has."""

    def result(self, timeout: float | None) -> Any:
        """Block until it has ended; return and raise what the function did.

        Args:
            timeout: Seconds; None waits for ever.

        Raises:
            TimeoutError: It has not ended in time.
        """
        ...

    def cancel(self) -> None:
        """End it if that can be; from any thread."""
        ...


class ClusterTaskRunner(TaskRunner):
    """Execute the functions of runs on a cluster.

    Retries, limits, caching and hooks are this process's, where a run has a thread that waits.
    Arguments and values are pickled by the cluster. Its processes must be able to import the task.

    Args:
        max_workers: How many runs are given to the cluster at once.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__()
        self._max_workers = checked_size(max_workers)
        self._places = Places[Submitted](max_workers or _MOST_AT_ONCE)

    @abstractmethod
    def send(self, call: RemoteCall) -> Sent:
        """Give a call to the cluster; returns at once."""

    def start(self, call: Call) -> Future[Any]:
        """Begin a run, or have it begin once what it waits for is over; returns at once.

        Raises:
            TaskDefinitionError: Another process cannot load the task.
        """
        try:
            target_of(call.task)
        except TargetError as error:
            raise TaskDefinitionError(
                f"task {call.task.name!r} cannot be executed on a cluster: {error}"
            ) from None
        submitted = Submitted(call, ThreadPool(self._places), self._invoke)
        submitted.begin()
        return submitted.future

    def _invoke(self, run: RunContext) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            sent = self.send(RemoteCall.of(run, args, kwargs))
            # Set before `cancelled` is looked at: whoever cancels does it the other way round.
            run.on_cancel = sent.cancel
            try:
                if run.cancelled is not None:
                    raise RunCancelled(run.cancelled)
                return _in_time(run, sent)
            except BaseException as error:
                if run.cancelled is not None and not isinstance(error, RunCancelled):
                    raise RunCancelled(run.cancelled) from error
                raise
            finally:
                run.on_cancel = None

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            answer: Answer[Any] = Answer()
            thread = threading.Thread(
                target=_resolve, args=(answer, lambda: call(*args, **kwargs)), daemon=True
            )
            thread.start()
            return await asyncio.wrap_future(answer)

        return call_async if run.task.is_async else call


def _in_time(run: RunContext, sent: Sent) -> Any:
    limit = cast("float | None", run.task.options.get("timeout_seconds"))
    if limit is None:
        return sent.result(None)
    deadline = time.monotonic() + limit
    try:
        return sent.result(limit)
    except TimeoutError:
        # The function may raise one itself.
        if time.monotonic() < deadline:
            raise
    sent.cancel()
    raise RunTimedOut(f"the run exceeded its timeout of {limit:g} seconds")


def _resolve(answer: "Answer[Any]", call: Callable[[], Any]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:
        answer.set_exception(error)
