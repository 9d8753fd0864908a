"""The work that a request must not wait for; see app.py for how to run it."""

import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel

from jtask import runtime, task


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


@task
async def write_story(words: int = 5) -> AsyncIterator[str]:
    """Write a story, word by word, as a language model does."""
    for number in range(1, words + 1):
        await asyncio.sleep(0.05)
        runtime.progress(number, words)
        yield f"word {number}"
