"""A shop whose web request leads over a retry and a nested run to a fan-out."""

SHOP = """
from jtask import runtime, task

@task(queue="orders", retries=1)
def order(items: int) -> int:
    if runtime.attempt == 1:
        raise ValueError("out of stock")
    return ship.delay(items).result(timeout=30)

@task(queue="parcels")
async def ship(items: int) -> int:
    runs = await item.adelay_many([(number,) for number in range(items)])
    return sum([await run for run in runs])

@task(queue="parcels")
def item(number: int) -> int:
    return number
"""
REQUEST = """
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
import jtask_otel
from shop import order

jtask_otel.setup()
app = FastAPI()

@app.post("/orders")
async def create(items: int) -> int:
    return await (await order.adelay(items))

FastAPIInstrumentor.instrument_app(app)
with TestClient(app) as client:
    print(json.dumps(client.post("/orders?items=3").json()))
"""
