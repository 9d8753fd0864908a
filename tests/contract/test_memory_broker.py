"""The memory broker keeps the contract."""

import asyncio

from jtask.contract import Broker
from jtask.testing.contract import BrokerContract
from jtask_memory import open_broker


class TestMemoryBroker(BrokerContract):
    async def open_broker(self, client: str) -> Broker:
        return await open_broker("memory://contract", client, asyncio.get_running_loop())
