"""What the contract suite makes of a broker that keeps its rules badly."""

import asyncio

import pytest

from jtask.contract import Broker
from jtask.testing.contract import Bench, Contract, base, broker_of


class Silent:
    """A part that never answers."""

    async def ask(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None: ...


class SilentContract(Contract):
    async def open_broker(self, client: str) -> Broker:
        return broker_of(requests=Silent())

    @base.rule
    async def answers(self, bench: Bench) -> None:
        await (await bench.broker()).requests.ask()  # type: ignore[call-arg] # pyright: ignore


def test_a_broker_that_never_answers_fails_its_rule_and_does_not_stop_the_suite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "_LONGEST", 0.05)
    with pytest.raises(TimeoutError):
        SilentContract().answers()
