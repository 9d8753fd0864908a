"""The NATS broker keeps the contract, on a real server that can die and come back."""

import asyncio

import pytest
from nats_servers import NatsServer

from jtask.contract import Broker
from jtask.testing.contract import BrokerContract
from jtask_nats import open_broker


class TestNatsBroker(BrokerContract):
    server: NatsServer

    @pytest.fixture(autouse=True)
    def _serve(self, nats_server: NatsServer) -> None:
        self.server = nats_server

    async def open_broker(self, client: str) -> Broker:
        return await open_broker(self.server.url, client, asyncio.get_running_loop())

    async def restart(self, away: float = 0.0) -> None:
        self.server.kill()
        await asyncio.sleep(away)
        await asyncio.to_thread(self.server.start)
