"""Say which direct calls of this process go on, and wake who waits for one; on the I/O loop.

A run of the background may be told to wait for a run that this process executes itself. Whoever
parks it asks here first, so only the ends of calls that were asked for have to be told.
"""

import logging

from jtask.client.end_news import EndNews
from jtask.client.whereabouts import call_topic, write_state
from jtask.contract import Broker, Subscription
from jtask.errors import BrokerError
from jtask.execution import direct_call
from jtask.states import State, StateName
from jtask.stored_ends import StoredEnd

_log = logging.getLogger("jtask")


class OpenCalls:
    """The runs that this process executes without a worker.

    Args:
        broker: Where it is asked.
        client: This process's id as a client, which the ids of its runs end with.
    """

    def __init__(self, broker: Broker, client: str) -> None:
        self._broker = broker
        self._client = client
        self._since: dict[str, float] = {}
        """Those whose ends are not stored yet, with the instants of their ends; from any thread."""
        self._asked: set[str] = set()
        self._subscription: Subscription | None = None

    async def listen(self) -> None:
        """Begin to answer; for as long as the connection lives."""
        try:
            self._subscription = await self._broker.requests.listen(
                call_topic(self._client), self._answer
            )
        except BrokerError as error:  # such as one that may not
            _log.debug("nobody can wait for the direct calls of this process: %s", error)

    def storing(self, run_id: str, at: float) -> None:
        """Take note that the end of a run is about to be stored; from any thread."""
        self._since[run_id] = at

    def dropped(self, run_id: str) -> None:
        """Take note that the end of a run is not stored; from any thread."""
        self._since.pop(run_id, None)

    async def stored(self, run_id: str) -> None:
        """Take note that the end of a run is stored, and tell the plugins if anybody has asked."""
        self._since.pop(run_id, None)
        if run_id not in self._asked:
            return
        self._asked.discard(run_id)
        news, end = EndNews(), StoredEnd(run_id, self._broker, is_news=False)
        await news.finish(end, news.tell(end))

    def _answer(self, question: bytes) -> bytes:
        run_id = question.decode(errors="replace")
        since = direct_call.open_since(run_id) or self._since.get(run_id)
        if since is None:
            return b""  # else who asks would wait: nobody but this process can know it
        self._asked.add(run_id)
        return write_state(State(StateName.RUNNING, since, "it is called directly"))
