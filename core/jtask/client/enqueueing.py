"""Check and encode runs before anything is sent."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, cast

from jtask.claims import Claim
from jtask.client.common_parts import common_parts
from jtask.client.dependencies import EncodedCall, encode_call, encode_plain_calls
from jtask.client.run_groups import RunGroup
from jtask.contract import ATOMIC_LIMIT, BLOB_MARGIN, EXPIRY_GRACE, HORIZON, Broker, Message
from jtask.declaration.binding import arguments_by_name
from jtask.declaration.definition import Definition
from jtask.declaration.registry import refuse_ambiguous
from jtask.declaration.task_info import TaskInfo
from jtask.errors import ArgumentError, TaskDefinitionError
from jtask.foreign_text import quoted
from jtask.hook_callers import HookCaller
from jtask.ids import RunIds
from jtask.needs import Needs
from jtask.run_arguments import recorded, recorded_all
from jtask.runs import Run, RunSource
from jtask.runtime import EnqueueRequest, WhenSent, current_run
from jtask.runtime.flow_runs import headers_from
from jtask.settings import get_settings
from jtask.tagging import tags_of_run
from jtask.wire.envelope import Envelope

_log = logging.getLogger("jtask")


@dataclass(frozen=True, slots=True)
class MixedCall:
    """The arguments of one of many runs, some by position and some by name."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


Call = Sequence[Any] | Mapping[str, Any] | MixedCall
"""The arguments of one of many runs; a sequence gives all by position, a mapping all by name."""


@dataclass(slots=True)
class OutgoingRun(Message):
    """A checked and encoded run that only has to be sent: what the broker gets, and more.

    Attributes:
        handle: What the caller gets.
        task_key: For the event.
        created: When it was prepared, seconds since the epoch.
        blob: Arguments that are too big for the message.
        about: Its tags, parent and version, for the event.
        claims: What plugins claim for it before it is sent.
        arguments: What is recorded of its arguments, for the event.
        trace_id: The trace that it is sent in, likewise.
    """

    handle: Run[Any] = field(kw_only=True)
    task_key: str = field(kw_only=True)
    created: float = field(kw_only=True)
    blob: bytes | None = None
    about: tuple[tuple[str, ...], str, str] = ((), "", "")
    claims: tuple[Claim, ...] = ()
    arguments: str = ""
    trace_id: str = ""


OutgoingGroup = list[OutgoingRun] | RunGroup
"""Runs that are stored all or none: by column, save where one has claims or large arguments."""


class RunBuilder:
    """Prepare the runs of one call: what they have in common is worked out once.

    Made for each call, in the caller's thread and context: tags and the parent come from there.
    A context manager around the whole call: at its end the plugins hear what became of it.

    Args:
        source: What the handles ask.
        ids: Makes the run ids.
        inline_limit: The largest body of a message, in bytes.
        task: Their task.
        definition: The task's options, with those of the call.
        wait_for: Other runs, anywhere inside, that each run waits for.

    Raises:
        TaskKeyConflict: A worker could take another task for it.
    """

    def __init__(
        self,
        source: RunSource,
        ids: RunIds,
        inline_limit: int,
        task: TaskInfo[..., Any],
        definition: Definition,
        wait_for: Sequence[Any] = (),
    ) -> None:
        refuse_ambiguous(task)
        self._source = source
        self._ids = ids
        self._limit = inline_limit
        self._task = task
        self._common = common = common_parts(task)
        self._created = now = time.time()
        self._queue = definition.queue or common.queue
        self._priority = definition.priority
        self._wait_for = wait_for
        self._at = self._expires = None
        if definition is not common.timeless:
            self._at, self._expires = definition.not_before(now), definition.not_after(now)
        self._tags = tags_of_run(task.tags)
        self._parent: str | None = None
        self._root: str | None = None
        self._inherited: dict[str, str] = {}
        parent = current_run()
        if parent is not None:
            self._parent, self._root = parent.run_id, parent.root_id
            self._inherited = headers_from(parent)
        self._shared: dict[str, Any] = {}
        self._when_sent: list[WhenSent] = []
        self._sent: Sequence[Run[Any]] = ()
        # Then the template says it all. Many runs of one call differ in id and arguments only: a
        # sixth of what an envelope costs.
        self._plain = (
            common.is_plain and parent is None and not self._tags and self._expires is None
        )
        # Nor does anything but id and arguments tell such runs of one call apart.
        self._is_alike = self._plain and common.hook is None and not self._inherited
        # Not kept with the task: the settings may be others when the process connects again.
        self._recorded_bytes = get_settings().event_arguments if task.serializer == "json" else 0
        self._about = (self._tags, self._parent or "", task.version or "")
        self._ending = common.template.ending(now)

    def __enter__(self) -> "RunBuilder":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # Nearly always empty: every call of a task comes this way.
        for when_sent in self._when_sent:
            try:
                when_sent([run.run_id for run in self._sent], error)
            except Exception:
                _log.exception("a plugin failed to hear that runs of %s were sent", self._task.name)

    def sent(self, runs: Sequence[Run[Any]]) -> Sequence[Run[Any]]:
        """Take note of what the caller gets, and return it."""
        self._sent = runs
        return runs

    def one(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> OutgoingRun:
        """Prepare one run.

        Args:
            args: Positional arguments; a bound method's receiver comes first.
            kwargs: Keyword arguments.

        Returns:
            OutgoingRun: The run, with an id; nothing is sent yet.

        Raises:
            ArgumentError: The arguments do not fit.
            SerializationError: One would not survive the trip.
            RunRefused: A plugin refused the run.
        """
        call = encode_call(self._task, args, kwargs, self._wait_for)
        return self._prepare(self._ids.new(), call, 1)

    def many(self, bound: tuple[Any, ...], calls: Iterable[Call]) -> Iterator[OutgoingGroup]:
        """Prepare many runs in groups that are stored all or none.

        All arguments are checked and all hooks are asked before the first group is there; what
        remains to be done for a group can be done while the one before is sent.

        Args:
            bound: What comes before the arguments of each call: a bound method's receiver.
            calls: The arguments of each run.

        Returns:
            Iterator[OutgoingGroup]: Groups of at most ATOMIC_LIMIT runs, in order.

        Raises:
            ArgumentError: The arguments of one call do not fit.
            SerializationError: An argument would not survive the trip.
            RunRefused: A plugin refused one of the runs.
            TaskDefinitionError: A call is neither a tuple nor a dict.
        """
        if not isinstance(calls, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TaskDefinitionError(
                f"calls must be a list of tuples or dicts of arguments, got {quoted(calls)}"
            )
        calls = list(calls)
        payloads = self._encode_at_once(bound, calls)
        if payloads is not None and self._is_alike:
            return self._alike_groups(payloads)
        encoded: Iterable[EncodedCall]
        may_be_refused = self._common.hook is not None
        if payloads is not None:
            encoded = map(EncodedCall, payloads, cast("list[tuple[Any, ...]]", calls))
        else:
            encoded = [self._encode_call(bound, call) for call in calls]
            may_be_refused = may_be_refused or any(call.needs for call in encoded)
        groups = self._groups(iter(encoded), len(calls))
        # A hook may refuse the last of the runs, or it waits for too many, when nothing may have
        # been sent.
        return iter(list(groups)) if may_be_refused else groups

    def _encode_at_once(self, bound: tuple[Any, ...], calls: list[Call]) -> list[bytes] | None:
        if bound or self._wait_for or not all(type(call) is tuple for call in calls):
            return None
        return encode_plain_calls(self._task, cast("list[tuple[Any, ...]]", calls))

    def _encode_call(self, bound: tuple[Any, ...], call: Call) -> EncodedCall:
        return encode_call(self._task, *_arguments(bound, call), self._wait_for)

    def _alike_groups(self, payloads: list[bytes]) -> Iterator[OutgoingGroup]:
        for begun in range(0, len(payloads), ATOMIC_LIMIT):
            some = payloads[begun : begun + ATOMIC_LIMIT]
            run_ids = self._ids.new_many(len(some))
            bodies = self._common.template.encode_many(run_ids, self._ending, some)
            if max(map(len, bodies)) > self._limit:
                calls = map(EncodedCall, some)
                yield list(map(self._prepare, run_ids, calls, repeat(len(payloads))))
                continue
            yield RunGroup(
                run_ids,
                bodies,
                self._queue,
                self._priority,
                self._at,
                self._expires,
                handles=[Run(run_id, self._source, self._task) for run_id in run_ids],
                task_key=self._task.key,
                created=self._created,
                about=self._about,
                arguments=recorded_all(some, self._recorded_bytes),
                trace_ids=[""] * len(some),
            )

    def _groups(self, encoded: Iterator[EncodedCall], count: int) -> Iterator[OutgoingGroup]:
        for begun in range(0, count, ATOMIC_LIMIT):
            run_ids = self._ids.new_many(min(count - begun, ATOMIC_LIMIT))
            yield _grouped([self._prepare(run_id, next(encoded), count) for run_id in run_ids])

    def _prepare(self, run_id: str, call: EncodedCall, count: int) -> OutgoingRun:
        common = self._common
        payload, needs = call.payload, call.needs
        blob = None
        headers = self._inherited
        claims: tuple[Claim, ...] = ()
        trace_id = ""
        if common.hook is not None:
            request, claims = self._ask_plugins(common.hook, run_id, call, count)
            headers, trace_id = request.headers, request.trace_id
        is_plain = self._plain and not headers and needs is None
        body = common.template.encode(run_id, self._ending, payload) if is_plain else b""
        if not is_plain or len(body) > self._limit:
            body, blob = self._encode(run_id, headers, payload, needs)
        limit = self._recorded_bytes
        return OutgoingRun(
            run_id,
            self._queue,
            body,
            self._priority,
            self._at,
            self._expires,
            None,
            blob,
            self._about,
            claims,
            recorded(payload, limit, common.redact) if limit else "",
            trace_id,
            handle=Run(run_id, self._source, self._task),
            task_key=self._task.key,
            created=self._created,
        )

    def _ask_plugins(
        self,
        hook: HookCaller,
        run_id: str,
        call: EncodedCall,
        count: int,
    ) -> tuple[EnqueueRequest, tuple[Claim, ...]]:
        request = EnqueueRequest(
            run_id=run_id,
            task=self._task,
            args=call.args,
            kwargs=dict(call.kwargs),  # calls without names share an empty one
            queue=self._queue,
            at=self._at,
            expires=self._expires,
            tags=self._tags,
            shared=self._shared,
            count=count,
            when_sent=self._when_sent,
            headers=dict(self._inherited),
            needs=call.needs,
        )
        claims = hook(request=request)
        for claim in claims:
            if not hasattr(claim, "take"):
                raise TypeError(f"jtask_enqueue must return a Claim or None, got {quoted(claim)}")
        return request, tuple(claims)

    def _encode(
        self, run_id: str, headers: dict[str, str], payload: bytes, needs: Needs | None
    ) -> tuple[bytes, bytes | None]:
        envelope = Envelope(
            run_id=run_id,
            task_key=self._task.key,
            task_name=self._task.name,
            serializer=self._task.serializer,
            payload=payload,
            created=self._created,
            tags=self._tags,
            parent=self._parent,
            root=self._root,
            headers=headers,
            expires=self._expires,
            options=self._common.carried,
            version=self._task.version,
            needs=needs,
            redact=self._common.redact,
        )
        body = envelope.encode()
        if len(body) <= self._limit:
            return body, None
        # The size stands for the arguments: the worker knows by it that there is a blob to fetch.
        body = envelope.with_blob(payload).encode()
        if needs and len(body) > self._limit:
            raise ArgumentError(
                f"a run of task {self._task.name!r} cannot wait for {len(needs.run_ids)} runs, "
                f"whose ids alone fill a message: join them in several steps"
            )
        return body, payload


def _grouped(runs: list[OutgoingRun]) -> OutgoingGroup:
    if any(run.claims or run.blob is not None for run in runs):
        return runs
    first = runs[0]
    return RunGroup(
        [run.run_id for run in runs],
        [run.body for run in runs],
        first.queue,
        first.priority,
        first.at,
        first.expires,
        handles=[run.handle for run in runs],
        task_key=first.task_key,
        created=first.created,
        about=first.about,
        arguments=[run.arguments for run in runs],
        trace_ids=[run.trace_id for run in runs],
    )


async def put_arguments(broker: Broker, message: Message, arguments: bytes) -> None:
    """Store the arguments of a run that are too big for its message; on the I/O loop.

    Args:
        broker: Where the run will be.
        message: The run. They are kept until somebody deletes them, unless the broker may discard
            the run, of which nobody is told.
        arguments: As they will be read.
    """
    life = None
    if message.expires is not None:
        now = time.time()
        waits = max(0.0, (message.at or now) - now) + max(0.0, message.expires - now)
        life = min(waits, HORIZON - now) + EXPIRY_GRACE + BLOB_MARGIN
    await broker.blobs.put(f"{message.run_id}.args", arguments, ttl=life)


def _arguments(bound: tuple[Any, ...], call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(call, tuple):
        return (*bound, *call) if bound else call, {}
    if isinstance(call, Mapping):
        return bound, arguments_by_name(call)
    if isinstance(call, MixedCall):
        return (*bound, *call.args), dict(call.kwargs)
    # A string is a sequence too, of one argument per character.
    if isinstance(call, str | bytes) or not isinstance(call, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TaskDefinitionError(
            f"each call must be a tuple of arguments or a dict of them, got {call!r}"
        )
    return (*bound, *call), {}
