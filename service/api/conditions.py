"""Entity tags; `If-Match` and `If-None-Match`, which ask about them (RFC 9110, 8.8.3 and 13.1).

A resource's strong entity tag is its `etag` in double quotes. What a client sends is a list of
tags, of which any will do, or `*` for whatever there is.
"""

import re
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from service.api.fields import field, sent
from service.errors import BadPrecondition

IF_MATCH = "If-Match"
IF_NONE_MATCH = "If-None-Match"
IF_MATCH_FIELD, IF_NONE_MATCH_FIELD = field(IF_MATCH), field(IF_NONE_MATCH)
ANY = "*"
WEAK = "W/"

_TAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')
# Between two tags a comma, or more of them (RFC 9110, 5.6.1.2).
_TAGS = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")
# Documented is the plain part of what RFC 9110 lets through.
_PLAIN = r'(W/)?"[!#-~]*"'
EXAMPLE = "3-0b1f4d6e-52a7-4c0e-9d55-7f1f1a2c9b3d"
_EITHER = {"pattern": rf"^(\*|{_PLAIN}(, {_PLAIN})*)$", "examples": [f'"{EXAMPLE}"']}
_ETAG = {
    "description": f'The `etag` in double quotes: a strong entity tag such as `"{EXAMPLE}"`',
    "schema": {"type": "string"},
}


def quote(etag: str) -> str:
    """Return an entity tag as a header has it."""
    return f'"{etag}"'


def tagged(status: int) -> dict[int | str, dict[str, Any]]:
    """Describe an answer that has an entity tag, for `responses=`."""
    return {status: {"headers": {"ETag": _ETAG}}}


def as_sent(request: Request, name: bytes) -> str | None:
    """Return a header's lines in one, if there are any (RFC 9110, 5.3)."""
    lines = sent(request, name)
    return b", ".join(lines).decode("latin-1") if lines else None


def parse(name: str, text: str) -> list[str]:
    """Return the entity tags in the header `name`, or `*`. Raises BadPrecondition."""
    if text.strip(" \t") == ANY:
        return [ANY]
    if not _TAGS.fullmatch(text):
        raise BadPrecondition(
            f"Send {name} with an ETag as it came, double quotes included, such as "
            f"{name}: {quote(EXAMPLE)}, with several of them and commas between, or with * alone; "
            "or leave it out."
        )
    return _TAG.findall(text)


def strong(tags: list[str]) -> list[str] | None:
    """Return what may match when compared strongly, without quotes; None: whatever there is.

    A weak tag matches nothing.
    """
    if tags == [ANY]:
        return None
    return [tag[1:-1] for tag in tags if not tag.startswith(WEAK)]


def known(tags: list[str], etag: str) -> bool:
    """Say whether one of these tags is `etag` when compared weakly: `W/` does not count."""
    if not tags:  # as nearly always
        return False
    return tags == [ANY] or quote(etag) in [tag.removeprefix(WEAK) for tag in tags]


async def _if_match(
    request: Request,
    first: Annotated[
        str | None,
        Header(
            alias=IF_MATCH,
            description="The `ETag` of the version that is to be changed, or several, or `*`: when "
            "there is another by now nothing is changed, and the answer is 412.",
            json_schema_extra=_EITHER,
        ),
    ] = None,
) -> list[str] | None:
    text = None if first is None else as_sent(request, IF_MATCH_FIELD)
    return None if text is None else strong(parse(IF_MATCH, text))


IfMatch = Annotated[list[str] | None, Depends(_if_match)]


async def _if_none_match(
    request: Request,
    first: Annotated[
        str | None,
        Header(
            alias=IF_NONE_MATCH,
            description="The `ETag` of a version that the client has, or several: when there is no "
            "other yet the answer is 304, without a body.",
            json_schema_extra=_EITHER,
        ),
    ] = None,
) -> list[str]:
    text = None if first is None else as_sent(request, IF_NONE_MATCH_FIELD)
    return [] if text is None else parse(IF_NONE_MATCH, text)


IfNoneMatch = Annotated[list[str], Depends(_if_none_match)]
