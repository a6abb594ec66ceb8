"""service.api.idempotency: what counts as a key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from service.api.idempotency import LENGTH_MOST, _request, parse, quote
from service.errors import BadIdempotencyKey

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255)


@given(PRINTABLE)
def test_every_string_survives_its_quotes(key: str) -> None:
    """What is quoted as RFC 8941 has it is read back the same."""
    assert parse(quote(key)) == key


@given(st.text(max_size=300))
def test_anything_is_read_or_refused(text: str) -> None:
    """No header makes the parser fail in another way."""
    try:
        key = parse(text)
    except BadIdempotencyKey:
        return
    assert 1 <= len(key) <= LENGTH_MOST
    assert key.isascii()
    assert key.isprintable()


def test_a_bare_key_is_the_same_key() -> None:
    """Many clients leave the quotes out."""
    assert parse("8e03978e-40d5") == parse('"8e03978e-40d5"') == parse(' "8e03978e-40d5" ')


MALFORMED = ("", '""', '"open', 'open"', '"a"b"', '"a\\x"', "two words", "naïve", '"naïve"')
TOO_LONG = ("a" * (LENGTH_MOST + 1), f'"{"a" * (LENGTH_MOST + 1)}"')
UNUSUAL = ('"tab\t"', '"a";b=1', '"a", "b"')


@pytest.mark.parametrize("text", [*MALFORMED, *TOO_LONG, *UNUSUAL])
def test_malformed_keys_are_refused(text: str) -> None:
    """Neither a string of RFC 8941 nor a bare word."""
    with pytest.raises(BadIdempotencyKey, match="double quotes"):
        parse(text)


async def fingerprint(method: str, body: bytes, *headers: tuple[bytes, bytes]) -> bytes:
    """Return what a key would be used for."""
    scope = {
        "type": "http",
        "method": method,
        "path": "/api/users/1",
        "query_string": b"a=b",
        "headers": headers,
        "server": ("service", 80),
        "scheme": "http",
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    return await _request(Request(scope, receive))


async def test_fingerprints_are_those_of_stored_keys() -> None:
    """Keys outlive a new version of the service, which must know their requests again."""
    stored = b'PATCH\0/api/users/1\0a=b\0{"name": "x"}'

    assert await fingerprint("PATCH", b'{ "name":"x" }') == stored
    assert await fingerprint("PATCH", b'{ "name":"x" }', (b"accept", b"*/*")) == stored


async def test_a_condition_is_never_taken_for_a_body() -> None:
    """A deletion has no body that counts, but one may come with it."""
    condition = await fingerprint("DELETE", b"", (b"if-match", b'"1"'))

    assert condition != await fingerprint("DELETE", b'"1"')
    assert condition != await fingerprint("DELETE", b'"1"\0')
    assert condition != await fingerprint("DELETE", b"", (b"if-match", b'"2"'))
