"""The third-party result store in examples/plugins keeps its part of the contract."""

import asyncio
from pathlib import Path

import pytest
from installing import load

from jtask.contract import OpenResultStore
from jtask.testing.contract import ResultStoreContract

MODULE = Path(__file__).parents[2] / "examples/plugins/sqlite_results/jtask_sqlite_results.py"


class TestSqliteResults(ResultStoreContract):
    @pytest.fixture(autouse=True)
    def _in_a_file(self, tmp_path: Path) -> None:
        self.url = f"sqlite://{tmp_path}/results.db"
        self.factory = load(MODULE).open_results

    async def open_results(self, client: str) -> OpenResultStore:
        store: OpenResultStore = await self.factory(self.url, client, asyncio.get_running_loop())
        return store
