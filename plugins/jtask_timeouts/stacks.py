"""Where a run is just now, as text for its history."""

import sys
import traceback
from types import CodeType, FrameType
from typing import Any

_LIMIT = 4000  # characters; the innermost frames say most


def stack_of_thread(ident: int, below: CodeType) -> str:
    """Return the stack of a thread, from the frame that this code called on.

    Args:
        ident: The thread.
        below: The code whose frame and callers are left out.
    """
    # The thread goes on meanwhile. Its frames stay valid, but the lines may be of slightly
    # different moments.
    return _format(_frames_below(frame_of_thread(ident), below))


def frame_of_thread(ident: int) -> FrameType | None:
    """Return the innermost frame of a thread; None if it has ended."""
    return sys._current_frames().get(ident)  # pyright: ignore[reportPrivateUsage]


def stack_of_coroutine(coroutine: Any, ident: int, below: CodeType) -> str:
    """Return the stack of a coroutine: where it waits, or where it holds up its loop.

    Args:
        coroutine: What the task's function returned.
        ident: The thread of its loop.
        below: The code that resumes it, left out with its callers.
    """
    # It is executing right now, so it has no `cr_await`; where it is, its thread knows.
    if getattr(coroutine, "cr_running", False):
        return stack_of_thread(ident, below)
    frames: list[tuple[FrameType, int]] = []
    # Down to a future or to something in C, which has no frame.
    waits = coroutine
    while waits is not None and (frame := _frame_of(waits)) is not None:
        frames.append((frame, frame.f_lineno))
        waits = getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None)
    return _format(frames)


def shortened(text: str) -> str:
    """Return a stack that is not too long for an event."""
    text = text.rstrip()
    return text if len(text) <= _LIMIT else f"  ...\n{text[-_LIMIT:].partition(chr(10))[2]}"


def _frames_below(frame: FrameType | None, below: CodeType) -> list[tuple[FrameType, int]]:
    frames: list[tuple[FrameType, int]] = []
    while frame is not None and frame.f_code is not below:
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    return frames[::-1]


def _frame_of(waits: Any) -> FrameType | None:
    return getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None)


def _format(frames: list[tuple[FrameType, int]]) -> str:
    return shortened("".join(traceback.StackSummary.extract(iter(frames)).format()))
