"""Items of a generator as texts, as lines of the broker hold them."""

import base64
from typing import TYPE_CHECKING, Any

from jtask.errors import ResultError
from jtask.serialization import codecs_of

if TYPE_CHECKING:
    from jtask.declaration import TaskInfo

_ROOM = 2048  # bytes, for what is said beside the item


def text_of(task: "TaskInfo[..., Any]", item: Any) -> str:
    """Return an item as a text.

    Raises:
        ResultError: It is not what is annotated, or would not survive the trip.
    """
    payload = codecs_of(task).item.encode(item)
    if task.serializer != "json":
        payload = base64.b64encode(payload)
    return payload.decode()


def check_size(task: "TaskInfo[..., Any]", text: str, inline_limit: int) -> int:
    """Return how many bytes an item has.

    Raises:
        ResultError: More than fit into a message.
    """
    size = len(text.encode())
    most = inline_limit // 2 - _ROOM
    if size > most:
        raise ResultError(
            f"an item of task {task.name!r} has {size} bytes, and at most {most} can be sent: "
            f"yield smaller ones, or where it is stored"
        )
    return size
