"""The child process: executes one run after the other in its main thread.

Started as `python -m jtask_timeouts.child CONNECTION PARENT NOTES`, three inherited descriptors.
"""

import asyncio
import faulthandler
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from itertools import islice
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

from jtask.contract.reach import mark_as_child
from jtask.declaration import TaskInfo
from jtask.execution.contexts import FreshContexts
from jtask.execution.copies import accompanied, copy_of
from jtask.execution.returned_states import state_returned, value_of
from jtask.runtime import RunContext, executing
from jtask.states import State
from jtask.tagging import inherit
from jtask.wire.failures import capture
from jtask.worker.log_output import log_to_stderr
from jtask.worker.standard_streams import flush_streams, print_line_by_line
from jtask.worker.targets import load_targets
from jtask_timeouts.child_protocol import (
    CRASHED,
    FAILED,
    STARTED,
    TOLD,
    VALUE,
    WAITS,
    Reply,
    Request,
    carrier_of,
)
from jtask_timeouts.coroutines import call_on_loop
from jtask_timeouts.deadlines import Step, TimedSteps, get_deadlines
from jtask_timeouts.interrupts import HardInterrupt, SoftInterrupt
from jtask_timeouts.limits import Limits
from jtask_timeouts.moments import PATIENCE, is_right
from jtask_timeouts.stacks import frame_of_thread, stack_of_thread

SOFT = signal.SIGUSR1
"""Raises SoftTimeout in a plain task; the process sends it to itself."""

STACK = signal.SIGUSR2
"""Writes the stack to the descriptor for notes, whatever the process is doing."""

_AWAITED_TOLD = 100

END = signal.SIGTERM
"""Ends the task, so that its `finally` is executed."""


def main(connection: int, parent: int, notes: int) -> None:
    """Execute what comes over the connection until it is closed.

    Args:
        connection: Descriptor over which requests come and replies go.
        parent: Descriptor of a pipe that closes when the worker ends.
        notes: Descriptor for what goes into the run's history while it executes.
    """
    # A process that the task starts must not keep them open.
    for descriptor in (connection, parent, notes):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no keyword
    _exit_with(parent)
    mark_as_child()
    # It writes from C, without the GIL: a Python handler would be called only after the C code that
    # holds the process up.
    faulthandler.register(STACK, file=notes, all_threads=False)
    os.register_at_fork(after_in_child=_restore_signals)
    print_line_by_line()
    pipe: Connection[bytes, bytes] = Connection(connection)
    executor = _Executor(pipe, notes)
    while True:
        try:
            frame = pipe.recv_bytes()
        except EOFError:
            # The interpreter ends as that of any program: it calls what is registered with atexit
            # and writes what is in the buffers. The worker kills it if it takes too long.
            return
        reply = executor.execute(Request.decode(frame))
        # Before the reply: this process may be killed at any time after it.
        flush_streams()
        executor.send(reply)


class _Executor:
    """Executes runs, and passes signals on to the one that is executing.

    Args:
        pipe: Where it says that a function is about to be called.
        notes: Where it writes what goes into the run's history.
    """

    def __init__(self, pipe: "Connection[bytes, bytes]", notes: int) -> None:
        self._connection = pipe
        self._notes = notes
        self._sending = threading.Lock()
        self._limits = Limits()
        self._contexts = FreshContexts()
        self._executing = False
        self._is_sending = False
        self._put_off: BaseException | None = None
        self._asyncio_task: asyncio.Task[Any] | None = None
        signal.signal(SOFT, self._on_soft)
        signal.signal(END, self._on_end)
        # Ctrl-C in a terminal is the worker's to handle. Not SIG_IGN, which a program that a task
        # starts would inherit.
        signal.signal(signal.SIGINT, lambda _number, _frame: None)

    def execute(self, request: Request) -> Reply:
        """Execute one run and return what became of it; the process stays fit for the next one.

        Args:
            request: What the worker wants executed.

        Returns:
            Reply: A value or a failure. SystemExit and other BaseExceptions are failures too: only
                the worker ends this process.
        """
        try:
            task = self._load(request)
            carrier = carrier_of(task, request.serializer)
            args, kwargs = carrier.read_arguments(request.payload)
            run = copy_of(request.facts, task, args, kwargs)
            run.on_state, run.on_wait = self._send_note, self._tell_wait
            self._limits = Limits(*request.limits)
            value = self._contexts.new().run(self._call, run, args, kwargs)
            return _reply(value, carrier.write_value)
        except SoftInterrupt as interrupt:
            error = self._limits.soft_timeout().with_traceback(interrupt.__traceback__)
            return Reply(FAILED, capture(error))
        except Exception as error:
            return Reply(FAILED, capture(error))
        except BaseException as error:
            return Reply(CRASHED, capture(error))

    def send(self, reply: Reply) -> None:
        """Send something to the worker; from any thread, one at a time."""
        with self._sending:
            self._connection.send_bytes(reply.encode())

    def _tell(self, topic: str, message: bytes) -> None:
        self.send(Reply(TOLD, payload=message, topic=topic))

    def _tell_wait(self, change: int, run_ids: Collection[str]) -> None:
        # A few of very many tell enough: what is waited for goes before other runs.
        told = json.dumps([change, *islice(run_ids, _AWAITED_TOLD)])
        message = Reply(WAITS, payload=told.encode())
        if threading.current_thread() is not threading.main_thread():
            self.send(message)
            return
        # What a signal raises in the middle would leave half a message, and the lock taken.
        self._is_sending, self._put_off = True, None
        try:
            self.send(message)
        finally:
            self._is_sending = False
        if self._put_off is not None:
            raise self._put_off

    def _load(self, request: Request) -> TaskInfo[..., Any]:
        # As it is in the worker now, which may have added to it since this process started.
        sys.path[:] = request.path
        (task,) = load_targets([request.target])
        # After the import: a module that sets up logging itself is left alone.
        log_to_stderr(request.log.level, request.log.label)
        return task

    def _call(self, run: RunContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inherit(run.tags, run.task.tags)
        with executing(run), accompanied(run, self._tell):
            # From here on the limits count: loading the task's module is not the task's time.
            self.send(Reply(STARTED))
            try:
                self._executing = True
                if run.task.is_async:
                    return asyncio.run(self._call_async(run, args, kwargs))
                return self.call_reported(run, args, kwargs)
            finally:
                # A single step, during which no signal is handled.
                self._executing = False

    def call_reported(self, run: RunContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a plain task's function; its stack below this frame is told when it is slow."""
        timers = _LimitTimers(run, self._limits)
        try:
            return run.function(*args, **kwargs)
        finally:
            timers.close()

    async def _call_async(
        self, run: RunContext, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self._asyncio_task = asyncio.current_task()
        try:
            # The hard limit is the worker's, which ends this process if need be.
            return await call_on_loop(run, Limits(soft=self._limits.soft), args, kwargs)
        finally:
            self._asyncio_task = None

    def _send_note(self, _run: RunContext, state: State) -> None:
        os.write(self._notes, state.message.encode())

    def _on_soft(self, _number: int, _frame: FrameType | None) -> None:
        if self._executing:
            self._interrupt(SoftInterrupt(str(self._limits.soft_timeout())))

    def _on_end(self, _number: int, _frame: FrameType | None) -> None:
        if not self._executing:
            raise SystemExit
        # `call_soon` would not wake a loop that waits for I/O.
        if self._asyncio_task is not None:
            asyncio.get_running_loop().call_soon_threadsafe(self._asyncio_task.cancel)
        else:
            self._interrupt(HardInterrupt())

    def _interrupt(self, error: BaseException) -> None:
        if self._is_sending:
            self._put_off = error
        else:
            raise error


def _reply(value: Any, write: Callable[[Any], bytes]) -> Reply:
    state = state_returned(value)
    if state is None:
        return Reply(VALUE, payload=write(value))
    about = (state.name, state.message, state.details)
    try:
        value = value_of(state)
    except Exception as error:
        return Reply(FAILED, capture(error), state=about)
    return Reply(VALUE, payload=write(value), state=about)


class _LimitTimers(TimedSteps):
    """Reports to the worker where the main thread is, then has SoftTimeout raised in it.

    Reporting takes no signal, which would cut short what C code is waiting for in a run that may be
    quite well.

    Args:
        run: What the main thread, which calls this, is about to execute.
        limits: Those of its task; the hard one only says when to report.
    """

    __slots__ = ("_latest", "_limits", "_lock", "_main", "_run")

    def __init__(self, run: RunContext, limits: Limits) -> None:
        self._run = run
        self._limits = limits
        self._lock = threading.Lock()
        self._main = threading.get_ident()
        now = time.monotonic()
        self._latest = now + (limits.soft or 0.0) + PATIENCE
        due = ((limits.report, self._report_stack), (limits.soft, self._at_soft_limit))
        super().__init__([Step(now + after, action) for after, action in due if after is not None])
        if self.next():
            get_deadlines().add(self)

    def close(self) -> None:
        """Do nothing any more."""
        # SoftTimeout may be raised in here, and this not end. It is the last step, so nothing
        # is due any more.
        with self._lock:
            self.end()

    def _report_stack(self) -> None:
        with self._lock:
            if not self.over:
                stack = stack_of_thread(self._main, _Executor.call_reported.__code__)
                self._run.note(self._limits.note(stack))

    def _at_soft_limit(self) -> None:
        with self._lock:
            if self.over:
                return
            if is_right(frame_of_thread(self._main), self._latest, by_signal=True):
                signal.pthread_kill(self._main, SOFT)
            else:
                get_deadlines().call_soon(self._at_soft_limit)


def _restore_signals() -> None:
    """Give a process that a task forks the signals of any program.

    `multiprocessing.Pool` ends its processes with SIGTERM.
    """
    for number in (SOFT, END):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.unregister(STACK)


def _exit_with(parent: int) -> None:
    """Have this process end with the worker, however that ends.

    The worker's end of the pipe closes with it. On Linux the kernel then sends a signal whose
    default action ends the process, even one that holds the GIL in C code for ever.
    """
    if sys.platform == "linux":
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(parent, fcntl.F_SETOWN, os.getpid())
        flags = fcntl.fcntl(parent, fcntl.F_GETFL)
        fcntl.fcntl(parent, fcntl.F_SETFL, flags | os.O_ASYNC)
    threading.Thread(
        target=_exit_at_end_of, args=(parent,), name="jtask-lifeline", daemon=True
    ).start()


def _exit_at_end_of(parent: int) -> None:
    # Also for a worker that was gone before the kernel was asked to tell.
    os.read(parent, 1)
    os._exit(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
