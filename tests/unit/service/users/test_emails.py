"""service.users.emails: what is told by its looks is what the library would have said."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import EmailStr, TypeAdapter, ValidationError

from service.users.schemas import Email

LIBRARY = TypeAdapter(EmailStr)
OURS = TypeAdapter(Email)
LOCAL = st.text("ab1_+-.A", max_size=70)
LABEL = st.text("ab1-", max_size=65)
DOMAIN = st.lists(LABEL, max_size=4).map(".".join)
TOP = st.sampled_from(["com", "COM", "test", "localhost", "local", "1", "xn--p1ai", "example", "c"])


def judged(adapter: TypeAdapter[str], address: str) -> tuple[str | None, str]:
    """Return the address as it would be stored, or what is wrong with it."""
    try:
        return adapter.validate_python(address), ""
    except ValidationError as error:
        return None, error.errors()[0]["msg"]


@given(st.builds("{}@{}.{}".format, LOCAL, DOMAIN, TOP))
@example("ada@example.com")
@example("Ada.Lovelace+tag@Example.COM")
@example("x@y.com <z@w.com>")
@example("Ada <ada@example.com>")
@example(" ada@example.com ")
@example("ada@example.com\n")
@example("a@b@example.com")
@example(f"{'a' * 64}@example.com")
@example(f"{'a' * 65}@example.com")
@example("müller@example.com")
@example("ada@müller.example.com")
@example('"a b"@example.com')
def test_as_the_library_does(address: str) -> None:
    """The same address, or the same words against it."""
    assert judged(OURS, address) == judged(LIBRARY, address)


@pytest.mark.parametrize("value", [None, 1, ["ada@example.com"]])
def test_what_is_no_text(value: object) -> None:
    """It is refused in the library's words."""
    with pytest.raises(ValidationError) as ours:
        OURS.validate_python(value)
    with pytest.raises(ValidationError) as library:
        LIBRARY.validate_python(value)
    assert [each["msg"] for each in ours.value.errors()] == [
        each["msg"] for each in library.value.errors()
    ]
