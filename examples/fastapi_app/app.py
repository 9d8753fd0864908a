"""A web service that answers at once and does the work in the background.

uvicorn app:app                 # terminal 1
jtask serve tasks.py            # terminal 2

curl -X POST 'http://127.0.0.1:8000/reports?customer=Ada'       # 202 and the id of a run
curl http://127.0.0.1:8000/reports/<id>                         # its state, later its result
curl -X POST 'http://127.0.0.1:8000/stories?words=5'            # 202 and the id of a run
curl -N http://127.0.0.1:8000/stories/<id>                      # its words as they come, as SSE
"""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Response
from fastapi.responses import StreamingResponse
from tasks import make_report, write_story

import jtask
from jtask import Run, get_run
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


@app.post("/stories", status_code=202)
async def create_story(words: int = 5) -> dict[str, str]:
    """Store a run whose items are read while it executes."""
    try:
        run = await write_story.adelay(words)
    except BrokerError as error:
        raise HTTPException(503, str(error)) from error
    return {"id": run.run_id}


@app.get("/stories/{run_id}")
async def read_story(
    run_id: str, last_event_id: Annotated[int | None, Header()] = None
) -> StreamingResponse:
    """Send the items of a run as server-sent events.

    A browser whose connection was cut connects again by itself, to any process of the service, and
    says what it has seen: it misses nothing and gets nothing twice.
    """
    try:
        run = get_run(run_id, write_story)
        await run.state_async()
    except RunNotFound as error:
        raise HTTPException(404, str(error)) from error
    start = 0 if last_event_id is None else last_event_id + 1
    return StreamingResponse(events_of(run, start), media_type="text/event-stream")


async def events_of(run: Run[None], start: int) -> AsyncGenerator[str]:
    """Yield one event for each item, and one for the end of the run."""
    try:
        async for item in run.stream(start).items_async():
            yield f"id: {item.index}\ndata: {json.dumps(item.value)}\n\n"
    except Exception as error:
        yield f"event: failed\ndata: {json.dumps(str(error))}\n\n"
    else:
        yield "event: done\ndata:\n\n"
