"""An order and its parcels: a run that fails once, and then starts runs on another worker."""

import time

from jtask import runtime, task


@task(queue="orders", retries=2, retry_delay_seconds=1)
def handle_order(order: str, items: list[str]) -> dict[str, object]:
    """Take the money, print the label, and have each item packed."""
    if runtime.attempt == 1:
        raise ConnectionError("the card terminal does not answer")
    label = print_label.delay(order)
    parcels = pack.delay_many([(order, item) for item in items])
    return {
        "label": label.result(timeout=30),
        "parcels": [parcel.result(timeout=30) for parcel in parcels],
    }


@task(queue="parcels")
def print_label(order: str) -> str:
    time.sleep(0.02)
    return f"label of {order}"


@task(queue="parcels")
def pack(order: str, item: str) -> str:
    time.sleep(0.05)
    return f"{item} of {order}"
