"""service.database.idempotency.IdempotencyKey: what makes two keys the same."""

from hypothesis import given
from hypothesis import strategies as st

from service.api.idempotency import SCOPE
from service.database import IdempotencyKey

# What the database has of the key "k" of a client without a token, from whichever version.
STORED = "2ea6f34171d16d8c2d539a9c1d2c72bc"


def key(text: str = "k", *, scope: str = "orders", client: str = "") -> IdempotencyKey:
    """Return a key for one and the same request."""
    return IdempotencyKey.of(text, scope=scope, request=b"pay", client=client)


@given(st.text(), st.text())
def test_who_sends_it_is_no_part_of_it(one: str, other: str) -> None:
    """For the audit alone: another token, another name, none at all."""
    first, second = key(client=one), key(client=other)
    assert (first.digest, first.fingerprint) == (second.digest, second.fingerprint)
    assert (first.origin.client, second.origin.client) == (one, other)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_equal_keys_of_two_scopes_are_two(one: tuple[str, str], other: tuple[str, str]) -> None:
    """And no key looks like a longer scope with a shorter key."""
    (scope, text), (scope_2, text_2) = one, other
    same = key(text, scope=scope).digest == key(text_2, scope=scope_2).digest
    assert same == (one == other)
    assert key("bc", scope="a").digest != key("c", scope="ab").digest


def test_stored_keys_stay_good() -> None:
    """Keys outlive a new version of the service, which must know them again."""
    assert key(scope=SCOPE).digest.hex().startswith(STORED)
