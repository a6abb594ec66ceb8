"""Cursors of keyset pages: opaque to clients, checked when they come back.

A cursor holds the order and the id that the page before it ended with. Ids follow the order of
creation across failovers (PostgreSQL logs a sequence ahead of its use); creation times need not,
as two nodes have two clocks.
"""

import binascii
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode

from service.errors import BadCursor
from service.users.schemas import BIGINT_MAX, Order

_LAYOUT = struct.Struct(">cq")  # the order's initial, the id
_LETTERS = {order: order[0].encode() for order in Order}


def encode(order: Order, last_id: int) -> str:
    """Return the cursor of the page after `last_id`."""
    return urlsafe_b64encode(_LAYOUT.pack(_LETTERS[order], last_id)).decode()


def decode(cursor: str, order: Order) -> int:
    """Return the id that the page before this cursor ended with.

    Raises BadCursor when the cursor is not one of `encode`, or one of another order.
    """
    try:
        letter: bytes
        last_id: int
        letter, last_id = _LAYOUT.unpack(urlsafe_b64decode(cursor.encode("ascii")))
    except (UnicodeEncodeError, binascii.Error, struct.error):
        raise _bad() from None
    if letter not in _LETTERS.values() or not 1 <= last_id <= BIGINT_MAX:
        raise _bad()
    made_for = next(each for each in Order if _LETTERS[each] == letter)
    if encode(made_for, last_id) != cursor:  # base64 ignores what it does not know
        raise _bad()
    if made_for is not order:
        raise BadCursor(
            f"This cursor was made with order={made_for}. Use that order, or leave the cursor out "
            "to start from the first page."
        )
    return last_id


def _bad() -> BadCursor:
    return BadCursor(
        "Use `next` of the page before, unchanged, or leave the cursor out to start from the "
        "first page."
    )
