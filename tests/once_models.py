"""Calls with keys in a model: the real plugin, prepared and sent as the client does it."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, cast
from unittest import mock

from plugin_models import World

from jtask.client.enqueueing import OutgoingRun, RunBuilder
from jtask.client.sending import RunSender
from jtask.contract import Broker, Message

CLIENTS = ["jtask_once.runs.get_client"]


class OnceWorld(World):
    """A `World` whose workers let go of keys on its own loop."""

    def _patches(self) -> Iterator[Any]:
        yield from super()._patches()
        yield mock.patch("jtask_once.runs.in_background", self._in_background)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        running = asyncio.get_running_loop().create_task(work)
        # As a worker's other work: it ends with the world, and what goes wrong is noticed.
        (self.living or [self.caller])[0].executing.append(running)

    async def call(self, used: Any, *arguments: Any, delay: float = 0.0, stall: float = 0.0) -> str:
        """Call a task's `delay`; return the id of the run that counts.

        Args:
            used: The task.
            arguments: Of the call.
            delay: Seconds before the run may start.
            stall: Seconds between the claim and the storing of the run.
        """
        definition = used.definition.changed(delay=delay or None)
        prepared = self._builder(used, definition).one(arguments, {})
        return (await self._send([prepared], stall))[0]

    async def call_many(self, used: Any, calls: Sequence[tuple[Any, ...]]) -> list[str]:
        """Call a task's `delay_many`; return the ids of the runs that count."""
        (group,) = self._builder(used, used.definition).many((), calls)
        return await self._send(group, 0.0)

    async def die_before_storing(self, used: Any, *arguments: Any) -> None:
        """Call a task, and end as a crash would when the key is claimed."""
        prepared = self._builder(used, used.definition).one(arguments, {})

        async def die(messages: object) -> None:
            raise SystemError("the caller is dead")

        try:
            await self._sender(die).send([prepared])
        except SystemError:
            return

    async def _send(self, prepared: list[OutgoingRun], stall: float) -> list[str]:
        async def enqueue(messages: Sequence[Message]) -> None:
            await asyncio.sleep(stall)
            await self.caller.broker.runs.enqueue(messages)

        return [run.run_id for run in await self._sender(enqueue).send(prepared)]

    def _sender(self, enqueue: Any) -> RunSender:
        broker = cast("Broker", _Broker(self.caller.broker, enqueue))
        return RunSender(broker, lambda run: None, lambda events: None)

    def _builder(self, used: Any, definition: Any) -> RunBuilder:
        changed = definition.changed(queue="model")
        return RunBuilder(cast("Any", self), self.caller.ids, 500_000, used, changed)


class _Broker:
    """The broker, whose runs are stored as a test says."""

    def __init__(self, broker: Any, enqueue: Any) -> None:
        self._broker = broker
        self.runs = _Runs(broker.runs, enqueue)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)


class _Runs:
    def __init__(self, runs: Any, enqueue: Any) -> None:
        self._runs, self.enqueue = runs, enqueue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runs, name)
