"""What an adapter provides, and how a rule is run."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import pytest

from jtask.contract import Broker, Consumption
from jtask.settings import get_settings
from jtask.testing.contract.bench import Bench

_LONGEST = 240.0  # seconds; no rule takes so long on a broker that keeps it


class Contract:
    """Rules for a broker; a subclass says how to open it, and what its environment can do."""

    async def open_broker(self, client: str) -> Broker:
        """Open one more client of the broker under test, on the running loop.

        Args:
            client: The client id: ten hexadecimal digits.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how to open its broker")

    async def lose(self, consumption: Consumption) -> None:
        """Make a worker vanish: what it holds is not settled, and its leases are not renewed.

        By default its consumption is closed. Override it to be harsher.
        """
        await consumption.close()

    async def restart(self, away: float = 0.0) -> None:
        """Stop the broker's server abruptly and start it again, with what it has stored.

        Override it where there is a server; by default the rules about restarts are skipped.

        Args:
            away: Seconds before it is started again.
        """
        del away
        pytest.skip("this broker has no server that could be restarted")


def broker_of(**parts: Any) -> Broker:
    """Return a broker that has only some parts, for the rules of these alone.

    What it is asked for beside them, such as `close` and `inline_limit`, the first part answers.
    """
    return cast("Broker", _OnlyParts(parts))


class _OnlyParts:
    def __init__(self, parts: dict[str, Any]) -> None:
        self.__dict__.update(parts)
        self._first = next(iter(parts.values()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._first, name)


C = TypeVar("C", bound=Contract)


def rule(body: Callable[[C, Bench], Awaitable[None]]) -> Callable[[C], None]:
    """Make a test of a coroutine that checks one rule."""

    # Not functools.wraps: pytest would follow it to the body and look for a fixture `bench`.
    def test(self: C) -> None:
        asyncio.run(_check(self, body))

    test.__name__ = body.__name__
    test.__qualname__ = body.__qualname__
    test.__module__ = body.__module__
    test.__doc__ = body.__doc__
    return test


async def _check(contract: C, body: Callable[[C, Bench], Awaitable[None]]) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("JTASK_NAMESPACE", f"contract_{secrets.token_hex(6)}")
        environment.setenv("JTASK_LEASE", "1")
        get_settings.cache_clear()
        unheard = _collect_unheard_errors()
        bench = Bench(contract.open_broker, environment)
        try:
            # Some rules wait for the broker alone: one that never answers must not stop the suite.
            async with asyncio.timeout(_LONGEST):
                await body(contract, bench)
        finally:
            await bench.close()
    get_settings.cache_clear()
    assert unheard == [], "the broker let errors go unheard on its loop"


def _collect_unheard_errors() -> list[dict[str, Any]]:
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    return unheard
