"""What an adapter provides, and how a rule is run."""

import secrets
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import pytest

from jtask.contract import Broker, Consumption
from jtask.settings import get_settings
from jtask.testing.contract.bench import Bench
from jtask.testing.contract.trial import run_rule


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
        __tracebackhide__ = True
        with _settings_of_its_own() as environment:
            bench = Bench(self.open_broker, environment)
            run_rule(body.__name__, partial(body, self, bench), bench.close)

    test.__name__ = body.__name__
    test.__qualname__ = body.__qualname__
    test.__module__ = body.__module__
    test.__doc__ = body.__doc__
    return test


@contextmanager
def _settings_of_its_own() -> Generator[pytest.MonkeyPatch]:
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("JTASK_NAMESPACE", f"contract_{secrets.token_hex(6)}")
            environment.setenv("JTASK_LEASE", "1")
            get_settings.cache_clear()
            yield environment
    finally:
        get_settings.cache_clear()
