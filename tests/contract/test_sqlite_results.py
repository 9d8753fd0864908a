"""The third-party result store in examples/plugins keeps its part of the contract."""

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from jtask.contract import OpenResultStore
from jtask.testing.contract import ResultStoreContract

MODULE = Path(__file__).parents[2] / "examples/plugins/sqlite_results/jtask_sqlite_results.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("sqlite_results", MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestSqliteResults(ResultStoreContract):
    @pytest.fixture(autouse=True)
    def _in_a_file(self, tmp_path: Path) -> None:
        self.url = f"sqlite://{tmp_path}/results.db"
        self.factory = load().open_results

    async def open_results(self, client: str) -> OpenResultStore:
        store: OpenResultStore = await self.factory(self.url, client, asyncio.get_running_loop())
        return store
