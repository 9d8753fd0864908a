"""The work that a request must not wait for; see app.py for how to run it."""

import asyncio

from pydantic import BaseModel

from jtask import task


class Report(BaseModel):
    """The result of `make_report`."""

    customer: str
    pages: int


@task
async def make_report(customer: str, pages: int = 3) -> Report:
    """Make a report, page by page."""
    if pages < 1:
        raise ValueError("a report has at least one page")
    for _ in range(pages):
        await asyncio.sleep(0.05)
    return Report(customer=customer, pages=pages)
