"""One Jaeger for all tests of this folder."""

from collections.abc import Iterator

import pytest
from jaeger.server import Jaeger, running_jaeger
from processes import place

__all__ = ["jaeger", "place"]


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """A Jaeger on 127.0.0.1; the first use on a machine builds it, which takes minutes."""
    with running_jaeger(tmp_path_factory.mktemp("jaeger")) as running:
        yield running
