"""What a form says that was sent."""

from urllib.parse import parse_qsl

from starlette.requests import Request


async def fields_of(request: Request, longest: int) -> list[tuple[str, str]]:
    """Return the fields of a form that was sent, in order.

    Args:
        request: Which sent it.
        longest: Bytes; of what is longer nothing is taken.
    """
    body = await body_of(request, longest)
    return parse_qsl(body.decode(errors="replace"), keep_blank_values=True)


async def body_of(request: Request, longest: int) -> bytes:
    """Return what a request has sent; nothing of what is longer than so many bytes."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > longest:
            return b""
    return body
