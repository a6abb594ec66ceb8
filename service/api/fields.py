"""Header fields in bytes, as they are sent: every request pays for what is made of them."""

from fastapi import Request, Response


def sent(request: Request, name: bytes) -> list[bytes]:
    """Return the values of a request's fields of this name, which is in lower case."""
    return [value for each, value in request.scope["headers"] if each == name]


def tell(response: Response, name: bytes, value: str) -> None:
    """Add a field to a response that has none of this name, which is in lower case."""
    response.raw_headers.append((name, value.encode("latin-1")))
