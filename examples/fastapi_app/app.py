"""A web service that answers at once and does the work in the background.

uvicorn app:app                 # terminal 1
jtask serve tasks.py            # terminal 2

curl -X POST 'http://127.0.0.1:8000/reports?customer=Ada'       # 202 and the id of a run
curl http://127.0.0.1:8000/reports/<id>                         # its state, later its result
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from tasks import make_report

import jtask
from jtask import get_run
from jtask.errors import BrokerError, RunNotFound


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    # Connect now, not at the first request: if the broker is down, the service does not start.
    async with jtask.aconnect():
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/reports", status_code=202)
async def create_report(customer: str, response: Response, pages: int = 3) -> dict[str, str]:
    """Store a run; it is durable when this returns."""
    try:
        run = await make_report.adelay(customer, pages)
    except BrokerError as error:
        raise HTTPException(503, str(error)) from error
    response.headers["Location"] = f"/reports/{run.run_id}"
    return {"id": run.run_id}


@app.get("/reports/{run_id}")
async def read_report(run_id: str) -> dict[str, Any]:
    """Return the state of a run, and its result or error once it has ended."""
    try:
        run = get_run(run_id, make_report)
        state = await run.state_async()
    except RunNotFound as error:
        raise HTTPException(404, str(error)) from error
    answer: dict[str, Any] = {"id": run_id, "state": state.name}
    if state.is_completed():
        answer["result"] = await run.result_async()
    elif state.is_final():
        answer["error"] = state.message
    return answer
