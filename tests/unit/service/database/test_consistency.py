"""service.database.consistency: tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.database.commit import Position
from service.database.consistency import ConsistencyToken
from service.errors import BadConsistencyToken

WORD = st.integers(0, 2**32 - 1)
POSITIONS = st.builds(Position, WORD, st.integers(0, 2**63 - 1), WORD)


@given(POSITIONS)
def test_tokens_are_read_back(position: Position) -> None:
    """Every position survives its token, which is safe in a header, a cookie and a URL."""
    text = ConsistencyToken(position).encode()

    assert ConsistencyToken.parse(text).position == position
    assert text.replace("-", "").replace("_", "").isalnum()


def test_tokens_of_the_first_history_are_as_they_were() -> None:
    """Instances from before there were histories read them, and clients have kept them."""
    text = "AQAAAAEAAAAAAwSHMII-slY"
    position = Position(timeline=1, lsn=0x3048730, history=0)

    assert ConsistencyToken.parse(text).position == position
    assert ConsistencyToken(position).encode() == text


@given(POSITIONS, st.data())
def test_a_changed_token_is_noticed(position: Position, data: st.DataObject) -> None:
    """One wrong character, and it is no token."""
    text = ConsistencyToken(position).encode()
    index = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABCxyz019-_").filter(lambda each: each != text[index]))

    with pytest.raises(BadConsistencyToken):
        ConsistencyToken.parse(text[:index] + other + text[index + 1 :])


@given(st.text())
def test_anything_else_is_refused(text: str) -> None:
    """No text makes the parser fail in another way."""
    with pytest.raises(BadConsistencyToken):
        ConsistencyToken.parse(text)
