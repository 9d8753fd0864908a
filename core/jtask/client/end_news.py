"""Tell the plugins that the ends of runs are stored; on the I/O loop."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable

from jtask.contract import Broker
from jtask.errors import BrokerError
from jtask.plugins import get_plugins
from jtask.stored_ends import StoredEnd

_RETRY_SECONDS = 0.5  # between two tries, of which there is no last
_log = logging.getLogger("jtask")


class EndNews:
    """Call the hook `jtask_stored`.

    Attributes:
        is_heard: Whether any plugin implements it.
    """

    def __init__(self) -> None:
        self._hook = get_plugins().caller("jtask_stored")
        self.is_heard = self._hook is not None

    def tell(self, end: StoredEnd) -> list[Awaitable[None]]:
        """Call the plugins, and return what is to be awaited; nearly always nothing.

        Args:
            end: What is stored.
        """
        if self._hook is None:
            return []
        answers = self._hook.call_on_io(end.run_id, {"end": end})
        # As with other hooks, whatever else they answer says nothing.
        return [answer for answer in answers if inspect.isawaitable(answer)]

    async def finish(self, end: StoredEnd, rest: list[Awaitable[None]]) -> None:
        """Await what plugins do about an end, again and again until the broker answers them.

        Args:
            end: What is stored.
            rest: What `tell` has returned.
        """
        while rest:
            answers = await asyncio.gather(*rest, return_exceptions=True)
            failures = [one for one in answers if isinstance(one, BaseException)]
            for error in failures:
                if not isinstance(error, BrokerError):
                    _log.error(
                        "a plugin failed to hear of the end of run %s", end.run_id, exc_info=error
                    )
            if not any(isinstance(error, BrokerError) for error in failures):
                return
            await asyncio.sleep(_RETRY_SECONDS)
            rest = self.tell(end)


async def tell_of_end(broker: Broker, run_id: str) -> None:
    """Tell the plugins of an end that need not have been stored just now, or not by a worker.

    Args:
        broker: Where it is stored.
        run_id: The run.

    Raises:
        BrokerError: The broker does not answer a plugin.
    """
    await asyncio.gather(*EndNews().tell(StoredEnd(run_id, broker, is_news=False)))
