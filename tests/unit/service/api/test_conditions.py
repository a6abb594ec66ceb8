"""service.api.conditions: what counts as a list of entity tags, and what they match."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.conditions import ANY, known, parse, quote, strong
from service.errors import BadPrecondition

IF_MATCH = "If-Match"
LATIN = st.characters(min_codepoint=0x21, max_codepoint=0xFF)
TAG = st.text(LATIN.filter(lambda each: each not in '"\x7f'))
TAGS = st.lists(st.builds('{}"{}"'.format, st.sampled_from(("", "W/")), TAG), min_size=1)
COMMA = st.sampled_from((",", ", ", " ,\t", ",,", ", ,"))


@given(TAGS, COMMA)
def test_every_list_is_read(tags: list[str], comma: str) -> None:
    """Tags come back as they were, whatever is in them and between them."""
    assert parse(IF_MATCH, comma.join(tags)) == tags


@given(st.text(st.sampled_from('W/"*, \t3a\x7fé')) | st.text())
def test_anything_is_read_or_refused(text: str) -> None:
    """No header makes the parser fail in another way."""
    try:
        tags = parse(IF_MATCH, text)
    except BadPrecondition:
        return
    assert tags
    assert parse(IF_MATCH, ",".join(tags)) == tags


@pytest.mark.parametrize(
    "text", ["", " ", ",", "3", "W/3", '"3', '3"', '"3""4"', '"3" "4"', '"a b"', '*,"3"', 'w/"3"']
)
def test_malformed_lists_are_refused(text: str) -> None:
    """Neither tags with commas between nor `*` alone."""
    with pytest.raises(BadPrecondition, match="double quotes included"):
        parse(IF_MATCH, text)


@pytest.mark.parametrize("text", ["," * 50_000, '"", ' * 20_000 + '"', " \t," * 20_000 + "x"])
def test_long_headers_take_no_longer(text: str) -> None:
    """What no list can be is found out in one pass."""
    started = time.monotonic()
    with pytest.raises(BadPrecondition):
        parse(IF_MATCH, text)
    assert time.monotonic() - started < 1


@given(st.lists(TAG, min_size=1))
def test_strong_tags_match_as_they_are(tags: list[str]) -> None:
    """What is between the quotes is compared, whatever it is."""
    assert strong(parse(IF_MATCH, ", ".join(map(quote, tags)))) == tags


def test_any_is_any() -> None:
    """`*` asks for no tag in particular; in quotes it is a tag as any other."""
    assert strong(parse(IF_MATCH, f" {ANY} ")) is None
    assert strong(parse(IF_MATCH, f'"{ANY}"')) == [ANY]


def test_weak_tags_match_nothing() -> None:
    """Compared strongly, they are for no version; the others in their list still count."""
    assert strong(parse(IF_MATCH, 'W/"3-a"')) == []
    assert strong(parse(IF_MATCH, 'W/"3-a", "3-b"')) == ["3-b"]


@pytest.mark.parametrize("text", ['"3-a"', 'W/"3-a"', '"1", W/"3-a"', "*"])
def test_known_in_a_weak_comparison(text: str) -> None:
    """A version is known by its tag, strong or weak, and by `*`."""
    assert known(parse("If-None-Match", text), "3-a")


@pytest.mark.parametrize("text", ['"3"', 'W/"3"', '"3-b"', '"03-a"', '"3-A"', '"*"', '"W/3-a"'])
def test_other_tags_know_it_not(text: str) -> None:
    """Of another version, or of none; nor does a client that sends no tags."""
    assert not known(parse("If-None-Match", text), "3-a")
    assert not known([], "3-a")
