"""Runs that wait for others, or whose outcome a plugin may know: asked before they get a slot."""

import asyncio
from collections.abc import Awaitable, Callable

from jtask.client.cancel_notices import no_event
from jtask.client.client import Client
from jtask.errors import BrokerError
from jtask.execution.dispositions import Disposition
from jtask.execution.hooks_loop import answer_of
from jtask.execution.job import Job, look_up
from jtask.plugins import hooks_of


class Lookups:
    """Ask the plugins for the ends of runs; on the I/O thread.

    Args:
        client: The process's link to the broker.
        worker: This worker's name.
        prepare: Awaited with each run first; returns whether to ask for it, which then has its
            arguments.
        go_on: Called with each run, and with the end that was known or how it waits on, or the
            failure of jtask itself, or None for one to execute.
    """

    def __init__(
        self,
        client: Client,
        worker: str,
        prepare: Callable[[Job], Awaitable[bool]],
        go_on: Callable[[Job, Disposition | BaseException | None], None],
    ) -> None:
        self._client = client
        self._worker = worker
        self._prepare = prepare
        self._go_on = go_on
        self._asking: dict[Job, asyncio.Task[None]] = {}

    def add(self, job: Job) -> bool:
        """Ask for a run; False, at no cost, where there is nothing to ask."""
        hooks, envelope = hooks_of(job.task), job.envelope
        if envelope.headers or envelope.tags:
            hooks = hooks.concerning(job.concerns)
        if hooks.lookup is None and envelope.needs is None:
            return False
        self._asking[job] = asyncio.get_running_loop().create_task(self._ask(job))
        return True

    def waiting(self) -> list[Job]:
        """Return the runs for which is asked just now."""
        return list(self._asking)

    def remove(self, job: Job) -> bool:
        """Ask for a run no more; False when nothing is asked for it."""
        asking = self._asking.pop(job, None)
        if asking is not None:
            asking.cancel()
        return asking is not None

    def take_all(self) -> list[Job]:
        """Ask for nothing more, and return the runs for which was asked."""
        return [job for job in self.waiting() if self.remove(job)]

    async def _ask(self, job: Job) -> None:
        known: Disposition | BaseException | None = None
        try:
            if await self._prepare(job):
                on_state = no_event if job.notify_only else self._client.events.on_state
                inline_limit = self._client.inline_limit
                known = await answer_of(look_up(job, self._worker, inline_limit, on_state))
        except BrokerError:
            known = None  # it is asked once more where the run starts, and says what is wrong
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # SystemExit too, of a key function: it ends the run alone
            known = error
        if self._asking.pop(job, None) is not None:
            self._go_on(job, known)
