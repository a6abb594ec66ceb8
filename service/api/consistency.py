"""`Consistency-Token`: a read that sends the token of a write sees at least that write.

A write that sends one, in the header, is not applied anew where its history ended.

Programs keep the token and send it as a header. A browser asks for a cookie once, by
`Prefer: consistency-cookie` (RFC 7240) with a write; from then on every write renews it and every
read sends it. The header wins over the cookie.
"""

from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request, Response

from service.api import preferences
from service.api.fields import field, sent, tell
from service.api.preferences import prefers
from service.database import ConsistencyToken, Written
from service.errors import BadConsistencyToken, HoldfastError, TokenAhead

HEADER = "Consistency-Token"
FIELD = field(HEADER)
COOKIE = "consistency_token"
# Seconds that a browser keeps the cookie: longer than a replica may ever lag behind.
COOKIE_AGE = 3600

T = TypeVar("T")


async def _after(
    header: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="The token that this write's first answer had, when it is sent again: if "
            "the database was restored since and does not know the key, the answer is 409.",
        ),
    ] = None,
) -> ConsistencyToken | None:
    return None if header is None else ConsistencyToken.parse(header)


After = Annotated[ConsistencyToken | None, Depends(_after)]


async def _seen(
    request: Request,
    header: Annotated[
        str | None,
        Header(
            alias=HEADER,
            description="The token of a write: the answer then has at least its state.",
        ),
    ] = None,
) -> ConsistencyToken | None:
    text = _cookie(request) if header is None else header
    return None if text is None else ConsistencyToken.parse(text)


Seen = Annotated[ConsistencyToken | None, Depends(_seen)]


def _cookie(request: Request) -> str | None:
    """Return the token in the request's cookies; few requests have any."""
    return request.cookies.get(COOKIE) if sent(request, b"cookie") else None


class Announcer:
    """Tells the client about a write, in the response's headers, and returns the write's value."""

    def __init__(self, request: Request, response: Response) -> None:
        self._asked = prefers(request, preferences.COOKIE)
        self._has_cookie = _cookie(request) is not None
        self._response = response

    def __call__(self, written: Written[T]) -> T:
        """Write the headers."""
        token = written.token.encode()
        tell(self._response, FIELD, token)
        if written.replayed:
            tell(self._response, b"idempotency-replayed", "true")
        followed = []
        if self._asked:
            followed.append(preferences.COOKIE)
        if written.commit.asked:
            followed.append(preferences.LOCAL)
        if followed:
            preferences.applied(self._response, *followed)
        if self._asked or self._has_cookie:
            self._response.set_cookie(
                COOKIE, token, max_age=COOKIE_AGE, httponly=True, samesite="lax"
            )
        return written.value


async def _announcer(request: Request, response: Response) -> Announcer:
    return Announcer(request, response)


Announce = Annotated[Announcer, Depends(_announcer)]


def forget(request: Request, error: HoldfastError, response: Response) -> None:
    """Take a cookie back that cannot be used: a browser would send it again and again."""
    if isinstance(error, BadConsistencyToken | TokenAhead) and HEADER not in request.headers:
        response.delete_cookie(COOKIE, httponly=True, samesite="lax")
