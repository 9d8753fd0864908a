"""A shop that takes orders and handles them in the background; README.md says how to run it.

There is nothing about traces in here: `opentelemetry-instrument` and the variables `OTEL_*` in
docker-compose.yml do all of it.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from tasks import handle_order

import jtask
from jtask import get_run


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with jtask.aconnect():
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=202)
async def create_order(order: str, items: list[str]) -> dict[str, str]:
    """Store a run; it is durable when this returns."""
    run = await handle_order.adelay(order, items)
    return {"id": run.run_id}


@app.get("/orders/{run_id}")
async def read_order(run_id: str) -> dict[str, Any]:
    """Return the state of a run, and its result once it has completed."""
    run = get_run(run_id, handle_order)
    state = await run.state_async()
    answer: dict[str, Any] = {"id": run_id, "state": state.name}
    if state.is_completed():
        answer["result"] = await run.result_async()
    elif state.is_final():
        answer["error"] = state.message
    return answer
