"""The NATS broker keeps the contract, on a real server that can die and come back."""

import asyncio

import pytest
from nats_servers import NatsServer

from jtask.contract import Broker
from jtask.testing.contract import (
    BrokerContract,
    Contract,
    ParkingContract,
    PauseContract,
    QueueContract,
    QueueStateContract,
    ReplacingContract,
)
from jtask_nats import open_broker


class OnServer(Contract):
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


class TestNatsBroker(OnServer, BrokerContract):
    pass


class TestNatsRunsOverSeveralStreams(
    OnServer, QueueContract, ReplacingContract, ParkingContract, PauseContract, QueueStateContract
):
    @pytest.fixture(autouse=True)
    def _spread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JTASK_NATS_STREAMS", "4")
