"""service.database.codec: what is stored comes back as it was, or is not stored."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.database import PlainJson

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(value=PLAIN)
def test_plain_values_come_back(value: object) -> None:
    """Whatever JSON knows is returned as it was."""
    codec = PlainJson(type(value))

    assert codec.load(codec.dump(value)) == value


@pytest.mark.parametrize("value", [{1: "a key that is no text"}, {"a": (1, 2)}, {"a": math.nan}])
def test_what_would_change_is_refused(value: dict[object, object]) -> None:
    """A replay would differ from the first answer, so there is no first answer."""
    with pytest.raises(ValueError, match="JSON"):
        PlainJson(dict).dump(value)


def test_another_type_is_refused() -> None:
    """A result that an older version stored as something else is not passed off as the type."""
    with pytest.raises(TypeError, match="stored was str, not int"):
        PlainJson(int).load('"7"')
