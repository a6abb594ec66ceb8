"""`Prefer`, as RFC 7240 lets clients write it."""

from __future__ import annotations

import pytest
from fastapi import Request

from service.api.preferences import COOKIE, LOCAL, prefers


def sent(*fields: str) -> Request:
    """Return a request with such fields."""
    return Request({"type": "http", "headers": [(b"prefer", each.encode()) for each in fields]})


@pytest.mark.parametrize(
    "fields",
    [
        ["durability=local"],
        ["Durability=LOCAL"],
        ['durability="local"'],
        ["durability = local"],
        ["respond-async,durability=local"],
        ["respond-async ; x=y , durability=local ; why=haste"],
        ["wait=10", "durability=local"],
    ],
)
def test_a_preference_is_found(fields: list[str]) -> None:
    """In each form, and beside others."""
    assert prefers(sent(*fields), LOCAL)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [""],
        ["durability"],
        ["durability=locally"],
        ["durability=remote"],
        ["durability=local=no"],
        ['durability="local'],
        ["durabilitylocal", "x;durability=local"],
        [COOKIE],
        ["durability;local"],
        ["\x00\xff", ",,,", "=local"],
    ],
)
def test_what_is_another_or_none_is_not(fields: list[str]) -> None:
    """What cannot be read is no preference, and no error."""
    assert not prefers(sent(*fields), LOCAL)


def test_the_cookie_is_a_preference() -> None:
    """With or without others."""
    assert prefers(sent("Consistency-Cookie, wait=1"), COOKIE)
    assert not prefers(sent("consistency-cookies"), COOKIE)
