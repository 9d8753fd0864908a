"""This process's link to the broker: enqueues runs and waits for their ends."""

import asyncio
import concurrent.futures
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar, cast

from jtask.client.cancellation import cancel_run
from jtask.client.enqueueing import OutgoingGroup, OutgoingRun
from jtask.client.event_buffer import EventBuffer
from jtask.client.io_thread import get_io_thread
from jtask.client.leased_slots import LeasedSlots
from jtask.client.log_buffer import LogBuffer
from jtask.client.log_reader import LogReader
from jtask.client.open_calls import OpenCalls
from jtask.client.opening import open_broker
from jtask.client.outcome_buffer import OutcomeBuffer
from jtask.client.sending import RunSender, scheduled
from jtask.client.waits import Waits, disconnected
from jtask.client.whereabouts import explain_wait, find_whereabouts
from jtask.contract import SEPARABLE, Broker, Message
from jtask.declaration.task_info import TaskInfo
from jtask.errors import JTaskError, ResultExpired, RunNotFound
from jtask.execution import direct_call
from jtask.ids import get_run_ids, is_run_id
from jtask.outcomes import CancelAnswer, SettledRun
from jtask.runs import Run
from jtask.settings import Settings, get_settings
from jtask.signal_safety import refuse_in_interrupted_thread, wait_steps
from jtask.states import State
from jtask.wire.progress import BUCKET, Progress, decode_progress

T = TypeVar("T")
# A program must be able to end although the broker is away; one that chooses a leader just then is
# back within that.
_CLOSE_SECONDS = 18.0
_LAST_LINES_SECONDS = 2.0  # of those, for what runs have logged
_GROUPS_IN_FLIGHT = 6  # of one call: the broker has work while this process collects garbage
_EXPLAIN_SECONDS = 0.5  # a wait that timed out takes so much longer at most
_log = logging.getLogger("jtask")


class Client:
    """This process's link to the broker; connects on creation, which blocks.

    Everything but its public methods happens on the I/O thread. Get it by `get_client`.

    Attributes:
        io: The thread that carries the broker's I/O.
        ids: Makes this process's run ids.
        broker: The broker; its methods are called on the loop of `io` only.
        inline_limit: The largest body of a message, in bytes.
        events: Takes the states of runs.
        logs: Takes what runs log.
        calls: Says which direct calls go on.
        outcomes: Takes the ends of direct calls.
        slots: Holds slots for runs and blocks of code.
        settings: Those it was made with.

    Raises:
        ConfigurationError: The URL's scheme is unknown.
        BrokerUnavailable: The broker cannot be reached within the setting `connect_timeout`.
    """

    def __init__(self) -> None:
        settings = get_settings()
        self.io = get_io_thread()
        self.ids = get_run_ids()
        self.broker: Broker = self.io.run(
            open_broker(settings.url, self.ids.client, _separate_parts(settings))
        )
        self.inline_limit = self.broker.inline_limit
        self.events = EventBuffer(self.io, self.broker.events)
        self.logs = LogBuffer(self.io, self.broker.logs)
        self.calls = OpenCalls(self.broker, self.ids.client)
        self.outcomes = OutcomeBuffer(self.io, self.broker.results, self.calls)
        self.settings = settings
        # Optional in the contract.
        self._enqueue_from_thread: Callable[[Message], None] | None = getattr(
            self.broker.runs, "enqueue_from_thread", None
        )
        self._enqueue_from_loop: Callable[[Message], Awaitable[None]] | None = getattr(
            self.broker.runs, "enqueue_from_loop", None
        )
        self.slots = LeasedSlots(self.io, self.broker)
        self._waits = Waits(self.io, self.broker, self.ids.client)
        self._sender = RunSender(self.broker, self._waits.track, self.events.extend)
        self._successor: Callable[[], Client] | None = None
        self._successor_async: Callable[[], Awaitable[Client]] | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O loop and block until it is done.

        Raises:
            RuntimeError: Called on the I/O thread, which would wait for itself.
        """
        return self._here().io.run(coroutine)

    async def bridge(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O loop and await it from any other loop."""
        return await (await self._here_async()).io.bridge(coroutine)

    def hand_over(
        self,
        successor: "Callable[[], Client]",
        successor_async: "Callable[[], Awaitable[Client]]",
    ) -> None:
        """Have another one answer the handles of this one: the process of both was forked.

        Args:
            successor: Returns the client of the child, which may block.
            successor_async: Does so without blocking the event loop.
        """
        self._successor, self._successor_async = successor, successor_async

    def _here(self) -> "Client":
        """Return the client of this process, for handles that are older than the process."""
        return self if self._successor is None else self._successor()

    async def _here_async(self) -> "Client":
        return self if self._successor_async is None else await self._successor_async()

    # --- sending ---------------------------------------------------------------------------

    def enqueue_blocking(self, prepared: OutgoingRun) -> Run[Any]:
        """Store one run, blocking this thread; durable on return.

        Args:
            prepared: What `RunBuilder.one` returned.

        Returns:
            Run[Any]: Its handle, or that of another run with which a plugin has answered.

        Raises:
            BrokerUnavailable: Not stored within the setting `enqueue_timeout`.
            BrokerFull: The broker has no room.
            JTaskError: Called on the I/O thread, or a plugin refused the run.
        """
        self._refuse_own_thread()
        if prepared.blob is not None or prepared.claims or self._enqueue_from_thread is None:
            return self.io.run(self._sender.send([prepared]))[0]
        # Before it is sent: it may have ended when this thread goes on.
        self._waits.track(prepared.handle)
        self._enqueue_from_thread(prepared)
        self.events.add(scheduled(prepared))
        return prepared.handle

    async def enqueue(self, prepared: OutgoingRun) -> Run[Any]:
        """Store one run from any event loop; durable on return.

        Args:
            prepared: What `RunBuilder.one` returned.

        Returns:
            Run[Any]: Its handle, or that of another run with which a plugin has answered.

        Raises:
            BrokerUnavailable: Not stored within the setting `enqueue_timeout`.
            BrokerFull: The broker has no room.
            JTaskError: A plugin refused the run.
        """
        if prepared.blob is not None or prepared.claims or self._enqueue_from_loop is None:
            return (await self.io.bridge(self._sender.send([prepared])))[0]
        # Before it is sent: it may have ended when this coroutine goes on.
        self._waits.track(prepared.handle)
        await self._enqueue_from_loop(prepared)
        self.events.add(scheduled(prepared))
        return prepared.handle

    def enqueue_many_blocking(self, groups: Iterable[OutgoingGroup]) -> list[Run[Any]]:
        """Store groups of runs, blocking this thread; one is prepared while others are sent.

        Args:
            groups: What `RunBuilder.many` yields; each is stored all or none.

        Returns:
            list[Run[Any]]: The handles of all, in order.

        Raises:
            BrokerError: A group was not stored; others may be.
            JTaskError: Called on the I/O thread.
        """
        self._refuse_own_thread()
        sending: list[concurrent.futures.Future[list[Run[Any]]]] = []
        for group in groups:
            begin = self._sender.prepare(group)
            if len(sending) >= _GROUPS_IN_FLIGHT and not _is_stored(sending[-_GROUPS_IN_FLIGHT]):
                break
            sending.append(self.io.submit(begin()))
        return _stored([one.exception() or one.result() for one in sending if _is_over(one)])

    async def enqueue_many(self, groups: Iterable[OutgoingGroup]) -> list[Run[Any]]:
        """Store groups of runs from any event loop; as `enqueue_many_blocking` does."""
        sending: list[asyncio.Future[list[Run[Any]]]] = []
        for group in groups:
            begin = self._sender.prepare(group)
            if len(sending) >= _GROUPS_IN_FLIGHT:
                await asyncio.wait([oldest := sending[-_GROUPS_IN_FLIGHT]])
                if oldest.exception() is not None:
                    break
            sending.append(asyncio.wrap_future(self.io.submit(begin())))
        return _stored(await asyncio.gather(*sending, return_exceptions=True))

    def _refuse_own_thread(self) -> None:
        refuse_in_interrupted_thread()
        # It would wait for what only this thread can do.
        if self.io.is_current:
            raise JTaskError(
                "a run was delayed on jtask's I/O thread, for example in a done callback: "
                "hand the work to another thread"
            )

    # --- waiting ---------------------------------------------------------------------------

    def handle(self, run_id: str, task: TaskInfo[..., Any] | None = None) -> Run[Any]:
        """Return a handle on a run of any process; asks nobody.

        Args:
            run_id: Its id.
            task: Its task, which says how the result is read; None reads plain JSON.

        Raises:
            RunNotFound: That is not a run id.
        """
        if not isinstance(run_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RunNotFound(f"a run id is a string such as {self.ids.new()}, not {run_id!r}")
        if not is_run_id(run_id):
            raise RunNotFound(f"{run_id!r} is not a run id, such as {self.ids.new()}")
        # One with a task reads results by it, so it is not shared.
        known = self._waits.find(run_id)
        return known if known is not None and task is None else Run(run_id, self, task)

    def fetch_end(self, run: Run[Any], timeout: float | None) -> None:
        """Resolve a handle if its run ends in a moment, for which this thread blocks.

        Args:
            run: The handle.
            timeout: Seconds that may be waited at most; None for ever.
        """
        self._here()._waits.fetch(run, timeout)

    async def fetch_end_async(self, run: Run[Any], timeout: float | None) -> None:
        """Do what `fetch_end` does without blocking the event loop."""
        here = await self._here_async()
        await here._waits.fetch_async(run, timeout)

    def expect(self, run: Run[Any]) -> None:
        """Resolve a handle when its run ends; returns at once, from any thread."""
        self._here()._waits.expect(run)

    def hold(self, run: Run[Any]) -> None:
        """Resolve a handle when its run ends, and keep it alive until then; from any thread."""
        self._here()._waits.hold(run)

    async def find_state(self, run: Run[Any]) -> State:
        """Return where a run stands that is not known to be over.

        Args:
            run: Its handle; it is resolved if the run turns out to be over.

        Raises:
            RunNotFound: There is no such run; `ResultExpired` when it may have been over for long.
            BrokerError: The broker cannot be asked, or this process has disconnected.
        """
        here = self._here()
        if here._waits.is_closed:
            raise disconnected(run)
        found = await find_whereabouts(here.broker, run.run_id)
        if isinstance(found, State):
            return found
        run.resolve(found.body)
        return cast("SettledRun", run.info).state

    async def explain_wait(self, run: Run[Any]) -> str:
        """Return why a run has not ended, if that is a reason to act; else an empty text."""
        try:
            async with asyncio.timeout(_EXPLAIN_SECONDS):
                return await explain_wait(self._here().broker, run.run_id)
        except (JTaskError, TimeoutError) as error:
            _log.debug("cannot tell why run %s has not ended: %s", run.run_id, error)
            return ""

    async def cancel(self, run_id: str, message: str) -> CancelAnswer:
        """End a run, wherever it is; on the I/O loop.

        Args:
            run_id: The run.
            message: Why, kept with its state.

        Raises:
            BrokerError: The broker cannot be asked; the run may end all the same.
        """
        here = self._here()
        return await cancel_run(here.broker, here.events.add, run_id, message)

    async def load_blob(self, record: SettledRun) -> bytes:
        """Return a result that is kept as a blob.

        Raises:
            ResultExpired: It is no longer kept.
        """
        blob = await self._here().broker.blobs.get(f"{record.run_id}.result", at_most=record.blob)
        if blob is None or len(blob) != record.blob:
            raise ResultExpired(f"the result of run {record.run_id} is no longer kept")
        return blob

    async def find_progress(self, run_id: str) -> Progress | None:
        """Return the latest that a run has said of its progress; on the I/O loop."""
        found = await self._here().broker.records.get(BUCKET, run_id)
        return None if found is None else decode_progress(found.body)

    async def read_items(self, run_id: str) -> LogReader:
        """Return what reads the items of a run; on the I/O loop."""
        broker = self._here().broker
        return LogReader(broker.items, broker.results, run_id)

    # --- ending ----------------------------------------------------------------------------

    def close(self) -> None:
        """Send what is buffered and disconnect.

        Who waits for a run gets `BrokerUnavailable`. Not on the I/O thread.
        """
        if self._waits.is_closed:
            return
        # First: who begins to wait from now on gets the error, too.
        self._waits.is_closed = True
        direct_call.stop_recording(self.events.on_state)
        try:
            self.io.run(self._close(), timeout=_CLOSE_SECONDS)
        except (TimeoutError, JTaskError) as error:
            _log.debug("the client did not close cleanly: %s", error)

    async def _close(self) -> None:
        self._waits.close()
        self.slots.close()
        self.events.flush()
        await self.logs.flush(_LAST_LINES_SECONDS)
        await self.outcomes.flush()
        await self.broker.close()


def _separate_parts(settings: Settings) -> dict[str, str]:
    urls = {part: getattr(settings, f"{part}_url") for part in SEPARABLE}
    return {part: url for part, url in urls.items() if url is not None}


def _is_stored(sending: "concurrent.futures.Future[list[Run[Any]]]") -> bool:
    return _is_over(sending) and sending.exception() is None


def _is_over(sending: "concurrent.futures.Future[list[Run[Any]]]") -> bool:
    """Wait until it is; always true."""
    return any(
        not concurrent.futures.wait([sending], seconds).not_done for seconds in wait_steps(None)
    )


def _stored(groups: Iterable[list[Run[Any]] | BaseException]) -> list[Run[Any]]:
    stored: list[Run[Any]] = []
    for group in groups:
        if isinstance(group, BaseException):
            raise group
        stored += group
    return stored
