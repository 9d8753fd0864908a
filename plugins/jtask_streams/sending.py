"""Around a generator that executes in the background: what it yields goes to the broker."""

import contextlib
import json
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING

from jtask_streams.texts import text_of
from jtask_streams.writer import ItemWriter

if TYPE_CHECKING:
    from jtask.runtime import RunContext

_NOTE = "streams"
_LAST_SECONDS = 5.0  # for the items of an attempt that has failed
_TOLD_SECONDS = 10.0  # for those of a child process, whose limits are not looked at meanwhile


@contextlib.contextmanager
def sending(run: "RunContext") -> Generator[None]:
    """Send the items of a plain generator inside a `with` block."""
    writer = _writer(run)
    if writer is None:
        yield
        return
    run.emit = lambda item: writer.put(text_of(run.task, item))
    try:
        yield
    except BaseException:
        writer.finish(_LAST_SECONDS)
        raise
    finally:
        run.emit = None
    writer.finish()


@contextlib.asynccontextmanager
async def sending_async(run: "RunContext") -> AsyncGenerator[None]:
    """Send the items of an asynchronous generator inside an `async with` block."""
    writer = _writer(run)
    if writer is None:
        yield
        return
    run.emit = lambda item: writer.put_async(text_of(run.task, item))
    try:
        yield
    except BaseException:
        await writer.finish_async(_LAST_SECONDS)
        raise
    finally:
        run.emit = None
    await writer.finish_async()


def receive(run: "RunContext", message: bytes) -> None:
    """Send items that a child process has told; in the worker, in the thread that waits for it."""
    writer: ItemWriter | None = run.notes.get(_NOTE)
    if writer is None:
        return
    try:
        texts: list[str] = json.loads(message)
        for text in texts:
            writer.put(text, timeout=_TOLD_SECONDS)
    except Exception as error:
        writer.fail(error)


def close(run: "RunContext") -> None:
    """Take no more items of a run whose attempt is over."""
    writer: ItemWriter | None = run.notes.pop(_NOTE, None)
    if writer is not None:
        writer.close()


def _writer(run: "RunContext") -> ItemWriter | None:
    from jtask.client import current_client
    from jtask.settings import settings_of
    from jtask_streams.settings import StreamSettings

    client = current_client()
    if client is None:
        return None  # nobody is to read them
    writer = ItemWriter(run, client, settings_of(StreamSettings).run_stream_limit)
    run.notes[_NOTE] = writer
    return writer
