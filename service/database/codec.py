"""A codec for plain values: what JSON gives back as it was."""

import json
from typing import Generic, TypeVar

T = TypeVar("T")


class PlainJson(Generic[T]):
    """Writes values of one plain type: `PlainJson(int)`, `PlainJson(dict)`, `PlainJson(str)`.

    A result that would come back different is refused before it is stored: every repetition of a
    write gets what the first one got.
    """

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind

    def dump(self, value: T, /) -> str:
        """Return the value's JSON. Raises TypeError or ValueError if JSON cannot keep it."""
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
        if self.load(text) != value:
            raise ValueError(f"JSON gives {self._kind.__name__} back as something else: {text:.60}")
        return text

    def load(self, text: str, /) -> T:
        """Return the value. Raises TypeError when it is not of the type."""
        value = json.loads(text)
        if not isinstance(value, self._kind):
            raise TypeError(f"stored was {type(value).__name__}, not {self._kind.__name__}")
        return value
