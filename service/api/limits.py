"""Bounds the size of a request's body, declared or not, before it fills the memory."""

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope


def bounded(receive: Receive, scope: Scope, limit: int) -> Receive:
    """Return what receives a request's body, and ends it with 413 beyond `limit` bytes.

    It ends as the body is being read. The server lets no more through than was declared.
    """
    declared = b""
    for name, value in scope["headers"]:
        if name == b"content-length":
            declared = value
            break
    got = int(declared) if declared.isdigit() else 0
    if declared and got <= limit:
        return receive

    async def counted() -> Message:
        nonlocal got
        _check(got, limit)
        message = await receive()
        if not declared:
            got += len(message.get("body", b""))
            _check(got, limit)
        return message

    return counted


def _check(size: int, limit: int) -> None:
    if size > limit:
        # The rest is left unread, so the connection cannot carry another request.
        raise HTTPException(
            413, f"A request body is at most {limit} bytes.", {"Connection": "close"}
        )
