"""Calls from any thread to the loop of a client."""

import asyncio
from collections.abc import Callable
from typing import TypeVarTuple, Unpack

Args = TypeVarTuple("Args")


def call_on(
    loop: asyncio.AbstractEventLoop, callback: Callable[[Unpack[Args]], object], *args: *Args
) -> bool:
    """Call back on a loop, soon; False when that loop has ended and never will."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        return False
    return True
