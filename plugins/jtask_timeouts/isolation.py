"""Execute a run in a child process, and end that for certain when its time is over."""

import asyncio
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from jtask.errors import ProcessDied, RunCancelled
from jtask.execution.copies import facts_of, told
from jtask.states import State, StateName
from jtask.wire.failures import rebuild
from jtask.worker.targets import refuse_while_loading, target_of
from jtask_timeouts.child_protocol import (
    CRASHED,
    STARTED,
    TOLD,
    VALUE,
    WAITS,
    LogStyle,
    Reply,
    Request,
    carrier_of,
)
from jtask_timeouts.deadlines import Step
from jtask_timeouts.limits import GRACE_SECONDS, Limits
from jtask_timeouts.process_pool import ChildProcess, get_process_pool
from jtask_timeouts.stacks import shortened

if TYPE_CHECKING:
    from jtask.runtime import RunContext

START_SECONDS = 60.0
"""How long a child may take to load a task, which no limit of the task's own covers."""


def call_in_child(
    run: "RunContext", limits: Limits, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call a task's function in a child process, within its limits.

    Args:
        run: What is to be executed.
        limits: Those of its task.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Returns:
        Any: What the function returned.

    Raises:
        RunTimedOut: The hard limit is over.
        RunCancelled: Somebody cancelled the run.
        ProcessDied: The child has died, or could not load the task.
        Exception: What the function raised.
    """
    call = IsolatedCall(run, limits)
    # Set before `cancelled` is looked at: whoever cancels does it the other way round, so one of
    # the two sees it.
    run.on_cancel = call.cancel
    try:
        if run.cancelled is not None:
            raise RunCancelled(run.cancelled)
        return call.execute(args, kwargs)
    finally:
        run.on_cancel = None
        call.close()


async def call_in_child_async(
    run: "RunContext", limits: Limits, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Do the same for an asynchronous task: the waiting is done by a thread."""
    call = IsolatedCall(run, limits)
    run.on_cancel = call.cancel
    over: Future[Any] = Future()
    threading.Thread(target=_resolve, args=(over, call, args, kwargs), daemon=True).start()
    waiting = asyncio.wrap_future(over)
    try:
        # Without the shield a cancellation would give up the future, and the thread go on unseen.
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        # Nothing may be left that runs when the run is given to another worker.
        call.cancel()
        with suppress(BaseException):
            await asyncio.shield(waiting)
        raise
    finally:
        run.on_cancel = None
        call.close()


def _resolve(
    over: "Future[Any]", call: "IsolatedCall", args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    try:
        over.set_result(call.execute(args, kwargs))
    except BaseException as error:
        over.set_exception(error)


class IsolatedCall:
    """One run in one child; everything but `cancel` happens in the thread that waits for it.

    Args:
        run: The run.
        limits: Those of its task, counted from when the child calls the function.
    """

    def __init__(self, run: "RunContext", limits: Limits) -> None:
        self._run = run
        # Not what is declared for the broker, which such a run has not come by.
        self._serializer = None if run.queue is None else run.task.serializer
        self._carrier = carrier_of(run.task, self._serializer)
        self._limits = limits
        self._end_error: BaseException | None = None
        self._reported = False
        self._lock = threading.Lock()
        # A pipe, for whoever waits for a child can watch descriptors only.
        self._cancel_reader, self._cancel_writer = os.pipe()
        self._closed = False
        self._steps: list[Step] = []  # the next one last

    def execute(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the function's value, or raise what the attempt ends with.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.

        Raises:
            TargetError: The task's file calls it while it is imported, which a child would do too.
            BaseException: As `call_in_child`; CancelledError when the worker takes the run back.
        """
        refuse_while_loading(f"task {self._run.task_name!r}, which executes in another process,")
        request = self._request(args, kwargs)
        pool = get_process_pool()
        child = pool.acquire()
        try:
            reply = self._exchange(child, request)
        except BaseException:
            # It might answer yet, and the next run would take that for its own.
            child.kill()
            raise
        pool.release(child)
        return self._result(reply)

    def cancel(self) -> None:
        """End the child after a grace; from any thread."""
        # Under the lock: once closed, the number of the descriptor may be that of another file.
        with self._lock:
            if not self._closed:
                os.write(self._cancel_writer, b"c")

    def close(self) -> None:
        """Let go of what is needed for being cancelled."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._cancel_reader)
                os.close(self._cancel_writer)

    def _request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        run = self._run
        return Request(
            target=target_of(run.task),
            serializer=self._serializer,
            facts=facts_of(run),
            limits=(self._limits.soft, self._limits.hard),
            payload=self._carrier.write_arguments(args, kwargs),
            path=list(sys.path),
            log=LogStyle.of_this_process(),
        ).encode()

    def _exchange(self, child: ChildProcess, request: bytes) -> Reply:
        self._steps = [Step(time.monotonic() + START_SECONDS, self._end_unstarted)]
        try:
            child.connection.send_bytes(request)
            while True:
                reply = self._next_reply(child)
                if reply.kind != STARTED:
                    return reply
                if self._end_error is None:
                    self._steps = self._due(child, time.monotonic())
        except (EOFError, OSError) as error:
            if error is self._end_error:  # a timeout is an OSError too
                raise
            end = child.reap(GRACE_SECONDS)
            raise self._end_error or ProcessDied(f"the run's process {end}") from None

    def _next_reply(self, child: ChildProcess) -> Reply:
        """Wait for what the child says next, and do meanwhile what is due."""
        while True:
            left = self._steps[-1].at - time.monotonic() if self._steps else None
            watched: list[Any] = [child.connection, child.notes, self._cancel_reader]
            watched += [] if child.ended is None else [child.ended]
            ready = wait(watched, None if left is None else max(0.0, left))
            if child.notes in ready or child.connection in ready:
                self._read_notes(child)
            # What has come first counts: a run that is being ended for its timeout stays TimedOut.
            if self._cancel_reader in ready and self._end_error is None:
                os.read(self._cancel_reader, 1)
                self._terminate(child, self._cancellation())
            if child.connection in ready:
                reply = Reply.decode(child.connection.recv_bytes())
                if reply.kind in (TOLD, WAITS):
                    self._hear(reply)
                    # Not before the clock is looked at: there may be no end of messages.
                    self._take_due_steps()
                    continue
                if self._end_error is not None and reply.kind != STARTED:
                    # Whatever it says now, it was told to end; the rest of its grace is for that.
                    child.ask_to_end()
                    child.wait_for_end(self._steps[-1].at)
                    raise self._end_error
                return reply
            # After its last reply was read, if there is one.
            if child.ended in ready:
                raise EOFError
            self._take_due_steps()

    def _hear(self, reply: Reply) -> None:
        if reply.kind == TOLD:
            told(self._run, reply.topic, reply.payload)
        elif self._run.on_wait is not None:
            change, *run_ids = json.loads(reply.payload)
            self._run.on_wait(change, run_ids)

    def _take_due_steps(self) -> None:
        while self._steps and self._steps[-1].at <= time.monotonic():
            self._steps.pop().action()

    def _due(self, child: ChildProcess, now: float) -> list[Step]:
        # The child keeps the soft limit itself.
        hard = self._limits.hard
        return [] if hard is None else [Step(now + hard, lambda: self._time_out(child))]

    def _read_notes(self, child: ChildProcess) -> None:
        if text := child.read_notes():
            self._reported = True
            self._run.note(text)

    def _time_out(self, child: ChildProcess) -> None:
        if not self._reported:
            # Its threads cannot say, for they do not get the GIL.
            self._run.note(self._limits.note(shortened(child.dump_stack())))
        self._terminate(child, self._limits.hard_timeout())

    def _cancellation(self) -> BaseException:
        if self._run.cancelled is not None:
            return RunCancelled(self._run.cancelled)
        # The worker stops and wants the run back.
        return asyncio.CancelledError()

    def _terminate(self, child: ChildProcess, error: BaseException) -> None:
        # The signal raises in the task, so that its `finally` is executed.
        self._end_error = error
        child.signal(signal.SIGTERM)
        self._steps = [Step(time.monotonic() + GRACE_SECONDS, self._kill)]

    def _kill(self) -> None:
        assert self._end_error is not None
        raise self._end_error

    def _end_unstarted(self) -> None:
        raise ProcessDied(
            f"the run's process was killed: it did not load its task in {START_SECONDS:g} seconds"
        )

    def _result(self, reply: Reply) -> Any:
        if reply.state is None:
            return self._value(reply)
        try:
            data = self._value(reply)
        except Exception as error:
            data = error
        name, message, details = reply.state
        return State(StateName(name), time.time(), message, details, data)

    def _value(self, reply: Reply) -> Any:
        if reply.kind == VALUE:
            return self._carrier.read_value(reply.payload)
        assert reply.failure is not None
        if reply.kind == CRASHED:
            raise ProcessDied(f"the task raised {reply.failure.summary}")
        raise rebuild(reply.failure, is_own=True)
