"""Header fields in bytes, as they are sent: every request pays for what is made of them."""

from fastapi import Request, Response


def field(name: str) -> bytes:
    """Return a field's name as it is looked up and written here."""
    return name.lower().encode("latin-1")


def sent(request: Request, name: bytes) -> list[bytes]:
    """Return the values of a request's fields of this name, as `field` has it."""
    return [value for each, value in request.scope["headers"] if each == name]


def tell(response: Response, name: bytes, value: str) -> None:
    """Add a field to a response that has none of this name, as `field` has it."""
    response.raw_headers.append((name, value.encode("latin-1")))
