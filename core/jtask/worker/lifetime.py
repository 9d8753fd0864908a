"""A worker in this process from its start to its stop: for `serve`, `aserve` and tests alike."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from jtask.client.process_client import get_client
from jtask.contract import Subscription
from jtask.declaration.task_info import TaskInfo
from jtask.errors import JTaskError
from jtask.worker.log_guard import guard_own_lines
from jtask.worker.plugin_contexts import PluginContexts
from jtask.worker.state_answers import answer_states
from jtask.worker.supervised import report_ready
from jtask.worker.worker import Worker


class WorkerLifetime:
    """Connect and take runs; stop when told to. The process stays connected.

    Not on the I/O thread.

    Args:
        tasks: What to serve.
        concurrency: How many runs at once.
        prefetch: How many runs to hold beyond that; None follows the pace.

    Raises:
        ConfigurationError: A setting or a plugin is wrong.
        BrokerUnavailable: The broker cannot be reached.
    """

    def __init__(
        self,
        tasks: Iterable[TaskInfo[..., Any]],
        concurrency: int,
        prefetch: int | None = None,
    ) -> None:
        guard_own_lines()
        self._client = get_client()
        # Made here, used on the I/O loop: an event belongs to the loop that first awaits it.
        self._hurry = asyncio.Event()
        self._is_stopped = False
        self.worker = self._client.io.run(self._make(tasks, concurrency, prefetch))
        self._contexts = PluginContexts(self.worker.info)
        self._answers: Subscription | None = None
        try:
            # Before the first run is there.
            self._answers = self._client.io.run(
                answer_states(self._client.broker, self.worker.jobs)
            )
            # Entered first: what they hold is there when the hooks of the first run are called.
            self._contexts.enter()
            self._client.io.run(self.worker.start())
        except BaseException:
            self.stop(0)
            raise
        # Only now: a supervisor takes it for the proof that its workers can start.
        report_ready()

    @property
    def is_connected(self) -> bool:
        """Whether the thread that talks to the broker lives; the broker itself may be away."""
        return self._client.io.death is None

    def hurry(self) -> None:
        """Release runs at once when stopping, or from now on if that has begun."""
        self._client.io.post(self._hurry.set)

    def stop(self, timeout: float) -> int:
        """Take nothing new, wait for what is executing, release the rest.

        Args:
            timeout: Seconds that runs may take to finish.

        Returns:
            int: How many runs were released; 0 if it was stopped before.
        """
        if self._is_stopped:
            return 0
        self._is_stopped = True
        if not self.is_connected:
            # Nothing can be released, and plugins would wait for an answer of the broker in vain.
            self._contexts.cancel()
            return 0
        try:
            return self._client.io.run(self.worker.stop(timeout, self._hurry))
        finally:
            self._contexts.leave()
            self._client.io.run(self.worker.close())
            self._stop_answering()

    def _stop_answering(self) -> None:
        if self._answers is not None:
            # The broker may be gone, and then nobody asks.
            with contextlib.suppress(JTaskError):
                self._client.io.run(self._answers.close())

    async def _make(
        self, tasks: Iterable[TaskInfo[..., Any]], concurrency: int, prefetch: int | None
    ) -> Worker:
        return Worker(self._client, tasks, concurrency, prefetch)
