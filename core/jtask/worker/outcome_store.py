"""Store ends of runs one by one, and have the plugins hear of each."""

import logging

from jtask.client.end_news import EndNews
from jtask.contract import Broker, OutcomeRecord
from jtask.stored_ends import StoredEnd
from jtask.worker.insistence import Insist

_log = logging.getLogger("jtask.worker")


class OutcomeStore:
    """Store until the broker has taken it; on the I/O thread.

    Args:
        broker: Where they are stored.
        insist: Repeats writes.

    Attributes:
        end_news: Tells the plugins.
    """

    def __init__(self, broker: Broker, insist: Insist) -> None:
        self._broker = broker
        self._insist = insist
        self.end_news = EndNews()

    async def store(self, record: OutcomeRecord) -> None:
        """Do `put`, and tell of it.

        Raises:
            MessageRefused: The broker will never take it.
        """
        await self.put(record)
        await self.tell_stored(record.run_id, is_news=True)

    async def put(self, record: OutcomeRecord) -> None:
        """Store an outcome, unless there is one.

        Raises:
            MessageRefused: The broker will never take it.
        """

        async def put() -> None:
            if not await self._broker.results.put(record):
                _log.info("run %s had already ended elsewhere", record.run_id)

        await self._insist(put)

    async def tell_stored(self, run_id: str, *, is_news: bool) -> None:
        """Tell the plugins that the end of a run is stored.

        Args:
            run_id: The run.
            is_news: Whether it was stored just now.
        """
        end = StoredEnd(run_id, self._broker, is_news)
        await self.end_news.finish(end, self.end_news.tell(end))
