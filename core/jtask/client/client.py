"""This process's link to the broker: enqueues runs and waits for their ends."""

import asyncio
import atexit
import concurrent.futures
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar, overload
from weakref import WeakValueDictionary

from jtask.background import BackgroundTasks
from jtask.client.cancellation import cancel_run
from jtask.client.enqueueing import OutgoingRun
from jtask.client.event_buffer import EventBuffer
from jtask.client.io_thread import get_io_thread
from jtask.client.opening import open_broker
from jtask.contract import SEPARABLE, Broker, Event, Message, OutcomeRecord, Subscription
from jtask.declaration.task_info import TaskInfo
from jtask.errors import BrokerUnavailable, JTaskError, RunNotFound, TargetError
from jtask.execution import direct_call
from jtask.ids import client_of, created_at, get_run_ids, is_run_id
from jtask.outcomes import CancelAnswer, SettledRun
from jtask.runs import Run
from jtask.settings import Settings, get_settings
from jtask.states import State, StateName
from jtask.wire.envelope import is_outcome_of

R = TypeVar("R")
T = TypeVar("T")
_SCHEDULED = StateName.SCHEDULED.value
_CLOSE_SECONDS = 5.0  # a program must be able to end although the broker is away
_RETRY_SECONDS = 0.5  # between two questions while the broker is away
_RECOVERY_REQUESTS = 64  # at once, after a gap
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
        # Optional in the contract.
        self._enqueue_from_thread: Callable[[Message], None] | None = getattr(
            self.broker.runs, "enqueue_from_thread", None
        )
        # Weak: nothing has to be done for a handle that nobody keeps.
        self._handles: WeakValueDictionary[str, Run[Any]] = WeakValueDictionary()
        # By id(): handles of one run are equal, and each of them may have to be held.
        self._held: dict[int, Run[Any]] = {}
        self._own: Subscription | None = None
        self._own_lock: asyncio.Lock | None = None
        self._background = BackgroundTasks()
        self._closed = False

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O loop and block until it is done.

        Raises:
            RuntimeError: Called on the I/O thread, which would wait for itself.
        """
        return self.io.run(coroutine)

    async def bridge(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O loop and await it from any other loop."""
        return await self.io.bridge(coroutine)

    # --- sending ---------------------------------------------------------------------------

    def enqueue_blocking(self, prepared: OutgoingRun) -> Run[Any]:
        """Store one run, blocking this thread; durable on return.

        Args:
            prepared: What `RunBuilder.one` returned.

        Returns:
            Run[Any]: Its handle.

        Raises:
            BrokerUnavailable: Not stored within the setting `enqueue_timeout`.
            BrokerFull: The broker has no room.
            JTaskError: Called on the I/O thread.
        """
        self._refuse_own_thread()
        # Before it is sent: it may have ended when this thread goes on.
        self._track(prepared.handle)
        if prepared.blob is None and self._enqueue_from_thread is not None:
            self._enqueue_from_thread(prepared.message)
            self.events.add(_scheduled(prepared))
        else:
            self.io.run(self._send([prepared]))
        return prepared.handle

    async def enqueue(self, prepared: OutgoingRun) -> Run[Any]:
        """Store one run from any event loop; durable on return.

        Args:
            prepared: What `RunBuilder.one` returned.

        Raises:
            BrokerUnavailable: Not stored within the setting `enqueue_timeout`.
            BrokerFull: The broker has no room.
        """
        await self.io.bridge(self._send([prepared]))
        return prepared.handle

    def enqueue_many_blocking(self, groups: Iterable[list[OutgoingRun]]) -> list[Run[Any]]:
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
        sending = self._start_sending(groups)
        concurrent.futures.wait([sent for _, sent in sending])
        return _stored([(handles, sent.exception()) for handles, sent in sending])

    async def enqueue_many(self, groups: Iterable[list[OutgoingRun]]) -> list[Run[Any]]:
        """Store groups of runs from any event loop; as `enqueue_many_blocking` does."""
        sending = self._start_sending(groups)
        errors = await asyncio.gather(
            *(asyncio.wrap_future(sent) for _, sent in sending), return_exceptions=True
        )
        return _stored([(h, e) for (h, _), e in zip(sending, errors, strict=True)])

    def _start_sending(
        self, groups: Iterable[list[OutgoingRun]]
    ) -> "list[tuple[list[Run[Any]], concurrent.futures.Future[None]]]":
        # Only the handles are kept: what else a group is made of can go once it is stored.
        return [
            ([run.handle for run in group], self.io.submit(self._send(group))) for group in groups
        ]

    async def _send(self, prepared: list[OutgoingRun]) -> None:
        for run in prepared:
            self._track(run.handle)
            # Before the message: a worker may have that at once, and wants the arguments.
            if run.blob is not None:
                await self.broker.blobs.put(f"{run.message.run_id}.args", run.blob)
        await self.broker.runs.enqueue([run.message for run in prepared])
        # Last, for what was not stored has not happened.
        self.events.extend([_scheduled(run) for run in prepared])

    def _refuse_own_thread(self) -> None:
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
        known = self._handles.get(run_id)
        return known if known is not None and task is None else Run(run_id, self, task)

    def expect(self, run: Run[Any]) -> None:
        """Resolve a handle when its run ends; returns at once, from any thread.

        Args:
            run: The handle; it is held weakly.
        """
        if self._handles.get(run.run_id) is not run:
            self.io.submit(self._expect(run))

    def hold(self, run: Run[Any]) -> None:
        """Resolve a handle when its run ends, and keep it alive until then; from any thread."""
        if id(run) not in self._held:
            self._held[id(run)] = run

            def over(_: JTaskError | None = None) -> None:
                self._held.pop(id(run), None)

            if not run.when_over(over):
                over()
        self.expect(run)

    async def find_state(self, run: Run[Any]) -> State:
        """Return the last known state of a run that is not known to be over.

        Args:
            run: Its handle; it is resolved if the run turns out to be over.

        Raises:
            BrokerError: The broker cannot be asked, or this process has disconnected.
        """
        if self._closed:
            raise _disconnected(run)
        if await self._ask(run) and run.info is not None:
            return run.info.state
        state = State(StateName.SCHEDULED, created_at(run.run_id))
        # Events may lag behind by one flush; the margin also covers clocks that differ a little.
        async for event in self.broker.events.read_run(run.run_id, since=state.at - 60):
            state = State(StateName(event.state), event.at, event.detail)
        return state

    async def cancel(self, run_id: str, message: str) -> CancelAnswer:
        """End a run, wherever it is; on the I/O loop.

        Args:
            run_id: The run.
            message: Why, kept with its state.

        Raises:
            BrokerError: The broker cannot be asked; the run may end all the same.
        """
        return await cancel_run(self.broker, self.events.add, run_id, message)

    async def load_blob(self, record: SettledRun) -> bytes:
        """Return a result that is kept as a blob.

        Raises:
            RunNotFound: It is no longer kept.
        """
        blob = await self.broker.blobs.get(f"{record.run_id}.result", at_most=record.blob)
        if blob is None or len(blob) != record.blob:
            raise RunNotFound(f"the result of run {record.run_id} is no longer kept")
        return blob

    def _track(self, run: Run[Any]) -> None:
        # Before the first wait nobody listens, and a program that never waits is spared the pushes.
        if self._own is not None:
            self._handles[run.run_id] = run

    async def _expect(self, run: Run[Any]) -> None:
        # What is pushed resolves one handle of a run; the others follow that one.
        known = self._handles.setdefault(run.run_id, run)
        if known is not run:
            run.follow(known)
            return
        own = client_of(run.run_id) == self.ids.client
        while not run.done():
            if self._closed:
                self._disconnect(run)
                return
            try:
                await (self._expect_own(run) if own else self._expect_foreign(run))
                return
            except BrokerUnavailable as error:
                _log.debug("the outcome of run %s cannot be fetched yet: %s", run.run_id, error)
                await asyncio.sleep(_RETRY_SECONDS)
            except JTaskError as error:
                self._handles.pop(run.run_id, None)
                run.fail_waiters(error)
                return

    async def _expect_own(self, run: Run[Any]) -> None:
        # Listen, then ask: an outcome that is stored in between is pushed.
        await self._watch_own()
        await self._ask(run)

    async def _expect_foreign(self, run: Run[Any]) -> None:
        # Listen, then ask, as for an own run.
        watch = await self.broker.results.watch(run.run_id, self._deliver, self._gap)
        over = asyncio.Event()
        # Posted: an asyncio.Event may be set on its own loop only, and a handle is resolved
        # anywhere.
        if run.when_over(lambda _: self.io.post(over.set)) and not await self._ask(run):
            self._background.start(_close_after(watch, over))
        else:
            await watch.close()

    async def _watch_own(self) -> None:
        if self._own_lock is None:
            self._own_lock = asyncio.Lock()
        async with self._own_lock:
            if self._own is None:
                self._own = await self.broker.results.watch(
                    self.ids.client, self._deliver, self._gap
                )

    async def _ask(self, run: Run[Any]) -> bool:
        record = await self.broker.results.get(run.run_id)
        if record is not None:
            run.resolve(record.body)
        return record is not None

    def _deliver(self, record: OutcomeRecord) -> None:
        run = self._handles.get(record.run_id)
        if run is None:
            return
        if not is_outcome_of(record.run_id, record.body):
            # Anybody may push; what counts is what is stored.
            self._background.start(self._ask_again(run))
            return
        self._handles.pop(record.run_id, None)
        run.resolve(record.body)

    async def _ask_again(self, run: Run[Any]) -> None:
        try:
            await self._ask(run)
        except JTaskError as error:
            _log.debug("the outcome of run %s cannot be fetched yet: %s", run.run_id, error)

    def _gap(self) -> None:
        self._background.start(self._recover())

    async def _recover(self) -> None:
        limit = asyncio.Semaphore(_RECOVERY_REQUESTS)

        async def ask(run: Run[Any]) -> None:
            async with limit:
                await self._ask(run)

        answers = await asyncio.gather(*map(ask, self._waited_for()), return_exceptions=True)
        for error in answers:
            if isinstance(error, Exception):
                _log.debug("an outcome could not be fetched: %s", error)

    def _waited_for(self) -> list[Run[Any]]:
        # valuerefs copies in one step; other threads add handles meanwhile.
        return [run for ref in self._handles.valuerefs() if (run := ref()) and not run.done()]

    # --- ending ----------------------------------------------------------------------------

    def close(self) -> None:
        """Send what is buffered and disconnect.

        Who waits for a run gets `BrokerUnavailable`. Not on the I/O thread.
        """
        if self._closed:
            return
        # First: who begins to wait from now on gets the error, too.
        self._closed = True
        direct_call.on_state(None)
        try:
            self.io.run(self._close(), timeout=_CLOSE_SECONDS)
        except (TimeoutError, JTaskError) as error:
            _log.debug("the client did not close cleanly: %s", error)

    async def _close(self) -> None:
        for run in self._waited_for():
            self._disconnect(run)
        self.events.flush()
        self._background.cancel()
        await self.broker.close()

    def _disconnect(self, run: Run[Any]) -> None:
        self._handles.pop(run.run_id, None)
        run.fail_waiters(_disconnected(run))


def _separate_parts(settings: Settings) -> dict[str, str]:
    urls = {part: getattr(settings, f"{part}_url") for part in SEPARABLE}
    return {part: url for part, url in urls.items() if url is not None}


def _stored(groups: list[tuple[list[Run[Any]], BaseException | None]]) -> list[Run[Any]]:
    for _, error in groups:
        if error is not None:
            raise error
    return [run for handles, _ in groups for run in handles]


def _scheduled(run: OutgoingRun) -> Event:
    return Event(run.message.run_id, _SCHEDULED, run.created, run.task_key)


def _disconnected(run: Run[Any]) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"this process has disconnected: get_run({run.run_id!r}) connects again "
        f"and returns a new handle"
    )


async def _close_after(subscription: Subscription, over: asyncio.Event) -> None:
    await over.wait()
    await subscription.close()


_lock = threading.Lock()
_client: Client | None = None


def get_client() -> Client:
    """Return this process's client, connected by its first use.

    Raises:
        ConfigurationError: A setting is wrong.
        BrokerUnavailable: The broker cannot be reached.
    """
    global _client
    # Without the lock: every call of a task comes this way.
    if _client is not None:
        return _client
    with _lock:
        if _client is None:
            _client = Client()
            direct_call.on_state(_client.events.on_state)
            # Called before the I/O thread is stopped, for atexit goes backwards and that one was
            # registered by `Client()`.
            atexit.register(close_client)
        return _client


def current_client() -> Client | None:
    """Return this process's client if it is connected."""
    return _client


async def connected_client() -> Client:
    """Return this process's client without blocking the event loop while it connects.

    Raises:
        ConfigurationError: A setting is wrong.
        BrokerUnavailable: The broker cannot be reached.
    """
    if _client is not None:
        return _client
    return await asyncio.to_thread(get_client)


def close_client() -> None:
    """Disconnect this process; the next use connects again."""
    global _client
    with _lock:
        # The lock is not held while the client closes: that waits for the I/O thread, and whatever
        # is called there may want this lock.
        client, _client = _client, None
    if client is not None:
        client.close()
        atexit.unregister(close_client)


@overload
def get_run(run_id: str) -> Run[Any]: ...
@overload
def get_run(run_id: str, task: TaskInfo[..., R]) -> Run[R]: ...
def get_run(run_id: str, task: TaskInfo[..., Any] | None = None) -> Run[Any]:
    """Return a handle on a run of any process.

    Args:
        run_id: Its id.
        task: Its task, where the code is at hand: gives the result its declared type.

    Raises:
        RunNotFound: That is not a run id.
        TargetError: That is not a task.
    """
    if task is not None and not isinstance(task, TaskInfo):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TargetError(f"{task!r} is not a task: pass the function decorated with @task")
    return get_client().handle(run_id, task)


def _forget_after_fork() -> None:
    global _client, _lock
    # Another thread of the parent may have held the old one, and does not exist here.
    _lock = threading.Lock()
    _client = None


os.register_at_fork(after_in_child=_forget_after_fork)
