"""What plugins keep for a worker's whole life: the context managers of the hook `jtask_worker`.

Each is entered and left in a task of its own on the loop of the hooks: one that fails or hangs is
nobody else's concern, and libraries such as anyio insist that both happen in the same task.
"""

import asyncio
import logging
from collections.abc import Iterable

from jtask.execution.hooks_loop import get_hooks_loop
from jtask.hook_callers import Implementation
from jtask.plugins import get_plugins
from jtask.runtime import WorkerInfo

_ENTER_SECONDS = 30.0
_LEAVE_SECONDS = 10.0  # a supervisor kills a worker twice as long after its runs had to end
_CANCEL_SECONDS = 1.0  # for those that are cancelled because they did not leave
_log = logging.getLogger("jtask.worker")


class PluginContexts:
    """The context managers of all plugins around one worker.

    Args:
        worker: What they are called with.
    """

    def __init__(self, worker: WorkerInfo) -> None:
        self._worker = worker
        self._caller = get_plugins().caller("jtask_worker")
        self._over = asyncio.Event()
        self._kept: dict[asyncio.Task[None], str] = {}

    def enter(self) -> None:
        """Enter all; return once each has been entered, has failed, or takes too long."""
        if self._caller is not None:
            get_hooks_loop().run(self._enter(self._caller.implementations))

    def leave(self) -> None:
        """Leave all; return once each has been left, has failed, or was cancelled."""
        if self._kept:
            get_hooks_loop().run(self._leave())

    def cancel(self) -> None:
        """Cancel all at once: for a worker that cannot reach its broker any more."""
        if self._kept:
            get_hooks_loop().run(self._cancel(self._kept))

    async def _enter(self, implementations: tuple[Implementation, ...]) -> None:
        entering: dict[asyncio.Future[None], str] = {}
        # As with jtask_around, the plugin that was registered first begins.
        for implementation in reversed(implementations):
            entered = asyncio.get_running_loop().create_future()
            entering[entered] = implementation.plugin
            task = asyncio.create_task(self._keep(implementation, entered))
            self._kept[task] = implementation.plugin
        _, late = await asyncio.wait(entering, timeout=_ENTER_SECONDS)
        for entered in late:
            _log.warning(
                "plugin %r has not begun with worker %s after %g seconds: the worker takes runs "
                "without waiting for it any longer",
                entering[entered],
                self._worker.name,
                _ENTER_SECONDS,
            )

    async def _keep(self, implementation: Implementation, entered: "asyncio.Future[None]") -> None:
        try:
            context = implementation.call({"worker": self._worker})
            if context is None:
                return
            async with context:
                entered.set_result(None)
                await self._over.wait()
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # a task that raised a SystemExit would end the loop
            self._log_failure(implementation, error)
        finally:
            if not entered.done():
                entered.set_result(None)

    def _log_failure(self, implementation: Implementation, error: BaseException) -> None:
        if self._caller is not None:
            self._caller.log_failure(implementation, error, f"for worker {self._worker.name}")

    async def _leave(self) -> None:
        self._over.set()
        _, late = await asyncio.wait(self._kept, timeout=_LEAVE_SECONDS)
        for task in late:
            _log.warning(
                "plugin %r has not ended with worker %s after %g seconds: it is cancelled",
                self._kept[task],
                self._worker.name,
                _LEAVE_SECONDS,
            )
        if late:
            await self._cancel(late)

    async def _cancel(self, kept: "Iterable[asyncio.Task[None]]") -> None:
        for task in kept:
            task.cancel()
        await asyncio.wait(kept, timeout=_CANCEL_SECONDS)
