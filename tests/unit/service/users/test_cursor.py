"""service.users.cursor: what goes out comes back, and nothing else is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadCursor
from service.users import cursor
from service.users.schemas import BIGINT_MAX, Order

ids = st.integers(1, BIGINT_MAX)
orders = st.sampled_from(Order)


@given(orders, ids)
def test_round_trip(order: Order, last_id: int) -> None:
    """A cursor comes back as the id it was made of, and needs no quoting in a URL."""
    made = cursor.encode(order, last_id)

    assert cursor.decode(made, order) == last_id
    assert made.isascii()
    assert made.replace("-", "").replace("_", "").isalnum()


@given(ids)
def test_another_order_is_refused(last_id: int) -> None:
    """A cursor of one order is of no use in the other, and the error names the right one."""
    made = cursor.encode(Order.NEWEST, last_id)

    with pytest.raises(BadCursor, match="order=newest"):
        cursor.decode(made, Order.OLDEST)


@given(st.text(), orders)
def test_arbitrary_text_never_breaks_it(text: str, order: Order) -> None:
    """Whatever a client sends is either a cursor of ours, letter for letter, or a BadCursor."""
    try:
        last_id = cursor.decode(text, order)
    except BadCursor:
        return

    assert cursor.encode(order, last_id) == text


@given(orders, ids, st.characters())
def test_tampering_is_noticed_by_its_form(order: Order, last_id: int, extra: str) -> None:
    """A character added at the end is not ignored, though base64 might."""
    with pytest.raises(BadCursor):
        cursor.decode(cursor.encode(order, last_id) + extra, order)


@pytest.mark.parametrize("last_id", [0, -1])
def test_impossible_ids_are_refused(last_id: int) -> None:
    """No page ever ended with such an id."""
    with pytest.raises(BadCursor, match="leave the cursor out"):
        cursor.decode(cursor.encode(Order.NEWEST, last_id), Order.NEWEST)


def test_error_says_what_to_do() -> None:
    """The client learns how to go on."""
    with pytest.raises(BadCursor, match="Use `next` of the page before, unchanged"):
        cursor.decode("nonsense", Order.NEWEST)
