"""Results as JSON text: what a keyed write stores beside its key."""

from typing import Generic, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


class Json(Generic[T]):
    """Writes values of one type. A newer version of the type must read what older ones wrote."""

    def __init__(self, kind: type[T]) -> None:
        adapter = TypeAdapter[T](kind)
        self._dump = adapter.serializer.to_json
        self._load = adapter.validate_json

    def dump(self, value: T, /) -> str:
        """Return the value's JSON."""
        return self._dump(value).decode()

    def load(self, text: str, /) -> T:
        """Return the value. Raises ValidationError when it is not of the type."""
        return self._load(text)
