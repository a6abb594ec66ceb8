"""service.api.timeout: what counts as seconds; and that other headers take what is documented."""

import re
import time
from decimal import Decimal

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from service.api import conditions, idempotency, timeout
from service.errors import BadTimeout
from tests.unit.service.api.test_problems import check

DIGITS = st.text("0123456789", min_size=1, max_size=timeout.DIGITS_MOST)


def documented(app: FastAPI, name: str) -> set[str]:
    """Return the patterns of a header in openapi.json."""
    return {
        parameter["schema"]["pattern"]
        for operations in app.openapi()["paths"].values()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if parameter["name"] == name
    }


@pytest.mark.parametrize("text", ["0.50", "0.10", "0.110", "0.2000", "1", "1.50", "007", "00.5"])
def test_seconds(text: str) -> None:
    """As people and programs write them, zeros in front and at the end included."""
    assert timeout.parse(text) == float(text)


@pytest.mark.parametrize(
    "text",
    ["", "0", "0.0", "00.00", "-1", "+1", "1e3", "1.", ".5", "1,5", "inf", "nan", "1 2", "१"],
)
def test_no_seconds(text: str) -> None:
    """Nothing, no number in plain notation, or no time at all."""
    with pytest.raises(BadTimeout):
        timeout.parse(text)


@given(whole=DIGITS, fraction=st.none() | DIGITS)
def test_any_plain_decimal_above_zero(whole: str, fraction: str | None) -> None:
    """Is taken, and means what it says; zero is refused. The documented pattern agrees."""
    text = whole if fraction is None else f"{whole}.{fraction}"
    plain = re.search(timeout.PATTERN, text) is not None
    assert plain == (Decimal(text) > 0)
    if plain:
        assert timeout.parse(text) == float(text)
    else:
        with pytest.raises(BadTimeout):
            timeout.parse(text)


@given(seconds=st.floats(min_value=1e-4, max_value=1e9))
def test_any_number_as_a_program_prints_it(seconds: float) -> None:
    """A remaining time, say, with all of its digits."""
    assert timeout.parse(str(seconds)) == seconds


@given(st.from_regex(timeout.PATTERN, fullmatch=True))
def test_what_is_documented_is_taken(text: str) -> None:
    """By the parser."""
    assert timeout.parse(text) > 0


@given(st.from_regex(idempotency._EITHER, fullmatch=True))
def test_a_key_as_documented_is_taken(text: str) -> None:
    """Quoted or bare, of any length that is documented."""
    key = idempotency.parse(text)
    assert 1 <= len(key) <= idempotency.LENGTH_MOST
    assert idempotency.parse(idempotency.quote(key)) == key


@given(st.from_regex(conditions._EITHER["pattern"], fullmatch=True))
def test_entity_tags_as_documented_are_taken(text: str) -> None:
    """One, several, or any."""
    assert conditions.parse("If-Match", text)


def test_the_pattern_is_in_the_document(app: FastAPI) -> None:
    """The one that the parser uses."""
    assert documented(app, timeout.NAME) == {timeout.PATTERN}


@pytest.mark.parametrize("text", ["0" * 60_000, "0." + "0" * 60_000, "1" * 60_000 + "x"])
def test_a_long_header_costs_nothing(text: str) -> None:
    """It is refused in time that grows no faster than it does."""
    started = time.perf_counter()
    with pytest.raises(BadTimeout):
        timeout.parse(text)
    assert time.perf_counter() - started < 0.5


async def test_it_shortens_the_wait(client: httpx.AsyncClient) -> None:
    """With a zero at its end as without."""
    response = await client.get("/api/users/1", headers={"Request-Timeout": "0.10"})
    check(response, 503, "unavailable")
    bad = await client.get("/api/users/1", headers={"Request-Timeout": "0.00"})
    check(bad, 400, "bad-request-timeout")
