"""Entity tags; `If-Match` and `If-None-Match`, which ask about them (RFC 9110, 8.8.3 and 13.1).

A resource's strong tag is its version in double quotes. What a client sends is a list of tags, of
which any will do, or `*` for whatever there is.
"""

import re
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from service.errors import BadPrecondition

IF_MATCH = "If-Match"
IF_NONE_MATCH = "If-None-Match"
ANY = "*"

_TAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')
# Between two tags a comma, or more of them (RFC 9110, 5.6.1.2).
_TAGS = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")
# A strong tag that is one of ours: nothing changes 10**18 times, which a bigint still holds.
_VERSION = re.compile(r'"([1-9][0-9]{0,17})"')
# Documented is the plain part of what RFC 9110 lets through.
_PLAIN = r'(W/)?"[!#-~]*"'
_EITHER = {"pattern": rf"^(\*|{_PLAIN}(, {_PLAIN})*)$", "examples": ['"3"']}
_ETAG = {
    "description": 'The version, as a strong entity tag such as `"3"`',
    "schema": {"type": "string"},
}


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def tagged(status: int) -> dict[int | str, dict[str, Any]]:
    """Describe an answer that has an entity tag, for `responses=`."""
    return {status: {"headers": {"ETag": _ETAG}}}


def as_sent(request: Request, name: str) -> str | None:
    """Return a header's lines in one, if there are any (RFC 9110, 5.3)."""
    lines = request.headers.getlist(name)
    return ", ".join(lines) if lines else None


def parse(name: str, text: str) -> list[str]:
    """Return the entity tags in the header `name`, or `*`. Raises BadPrecondition."""
    if text.strip(" \t") == ANY:
        return [ANY]
    if not _TAGS.fullmatch(text):
        raise BadPrecondition(
            f'Send {name} with an ETag as it came, double quotes included, such as {name}: "3", '
            "with several of them and commas between, or with * alone; or leave it out."
        )
    return _TAG.findall(text)


def versions(tags: list[str]) -> list[int] | None:
    """Return what these tags stand for when compared strongly; None: any version.

    A weak tag is for none, and so is one that is not of `etag`.
    """
    if tags == [ANY]:
        return None
    return [int(ours[1]) for ours in map(_VERSION.fullmatch, tags) if ours]


def known(tags: list[str], version: int) -> bool:
    """Say whether one of these tags is for `version` when compared weakly: `W/` does not count."""
    return tags == [ANY] or etag(version) in [each.removeprefix("W/") for each in tags]


async def _if_match(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias=IF_MATCH,
            description="The `ETag` of the version that is to be changed, or several, or `*`: when "
            "there is another by now nothing is changed, and the answer is 412.",
            json_schema_extra=_EITHER,
        ),
    ] = None,
) -> list[int] | None:
    text = as_sent(request, IF_MATCH)
    return None if text is None else versions(parse(IF_MATCH, text))


IfMatch = Annotated[list[int] | None, Depends(_if_match)]


async def _if_none_match(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias=IF_NONE_MATCH,
            description="The `ETag` of a version that the client has, or several: when there is no "
            "other yet the answer is 304, without a body.",
            json_schema_extra=_EITHER,
        ),
    ] = None,
) -> list[str]:
    text = as_sent(request, IF_NONE_MATCH)
    return [] if text is None else parse(IF_NONE_MATCH, text)


IfNoneMatch = Annotated[list[str], Depends(_if_none_match)]
