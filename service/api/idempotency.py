"""The `Idempotency-Key` header, of draft-ietf-httpapi-idempotency-key-header-07.

A key is an RFC 8941 string ("in quotes"); one without quotes is taken too, as many clients send it,
and means the same key. Without any the edge makes one (deploy/nginx), so that it may send the
request again when something dies under it; and without that the service does, for its own retries.
Whichever it was is told in the response's `Idempotency-Key`: after an answer in doubt it can be
sent again. Keys that no client chose are kept for a shorter time.

What a key is used for is the method, the path with its query, `If-Match` as it was sent, and the
body; a JSON body counts by its values, not by its spaces or the order of its members.
"""

import json
import re
import secrets
from contextlib import suppress
from typing import Annotated

from fastapi import Depends, Header, Request

from service.api.conditions import IF_MATCH_FIELD, as_sent
from service.api.consistency import After
from service.api.fields import field, sent
from service.api.preferences import LOCAL, prefers
from service.database import IdempotencyKey
from service.errors import BadIdempotencyKey
from service.observability.record import current_record

NAME = "Idempotency-Key"
FIELD = field(NAME)
# One for all clients: a key is one write, whoever sends it (docs/decisions/0029). Empty, as it was
# for clients without a token while a holder's name stood here: their stored keys stay good.
SCOPE = ""
LENGTH_MOST = 255
EDGE_PREFIX = "edge-"
# RFC 8941, 3.3.3: printable ASCII, with backslash and quote escaped.
_QUOTABLE = r'(?:[ !#-\[\]-~]|\\["\\])'
_WORD = r"[A-Za-z0-9._~:/+=@-]"
_QUOTED = re.compile(f'"({_QUOTABLE}*)"')
_CANONICAL = json.JSONEncoder(sort_keys=True).encode  # of equal values one text
_PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.~-]*")  # which a URL has as it is
_BARE = re.compile(f"{_WORD}+")
_EITHER = f'^("{_QUOTABLE}{{1,{LENGTH_MOST}}}"|{_WORD}{{1,{LENGTH_MOST}}})$'


def parse(text: str) -> str:
    """Return the key in a header. Raises BadIdempotencyKey."""
    quoted = _QUOTED.fullmatch(text.strip())
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text.strip()
    if not quoted and not _BARE.fullmatch(key):
        raise _bad()
    if not 1 <= len(key) <= LENGTH_MOST:
        raise _bad()
    return key


def quote(key: str) -> str:
    """Return a key as a header has it."""
    escaped = re.sub(r'(["\\])', r"\\\1", key) if '"' in key or "\\" in key else key
    return f'"{escaped}"'


async def _idempotency_key(
    request: Request,
    after: After,
    _: Annotated[
        str | None,
        Header(
            alias=NAME,
            description="A string of the client's choice, new for each write and the same when "
            "it is sent again: the write is then applied once, and answered as the first time.",
            json_schema_extra={"pattern": _EITHER},
        ),
    ] = None,
) -> IdempotencyKey:
    found = sent(request, FIELD)
    if len(found) > 1:
        raise _bad()
    key = parse(found[0].decode("latin-1")) if found else secrets.token_hex(16)
    chosen = bool(found) and not key.startswith(EDGE_PREFIX)
    record = current_record()
    record.idempotency_key = quote(key)
    made = IdempotencyKey.of(
        key,
        scope=SCOPE,
        request=await _request(request),
        chosen=chosen,
        client=record.client,
        request_id=record.request_id,
        after=after,
    )
    return made.locally() if prefers(request, LOCAL) else made


Key = Annotated[IdempotencyKey, Depends(_idempotency_key)]


async def _request(request: Request) -> bytes:
    body = await request.body()
    with suppress(ValueError, RecursionError):  # not JSON: the bytes as they are
        body = _CANONICAL(await request.json()).encode()
    method, condition = request.scope["method"], as_sent(request, IF_MATCH_FIELD)
    if condition is not None:
        method = f"{method} {condition}"
    path, query = _target(request)
    return f"{method}\0{path}\0{query}\0".encode() + body


def _target(request: Request) -> tuple[str, str]:
    """Return path and query as a URL has them."""
    path, scope = request.scope["path"], request.scope
    if _PLAIN_PATH.fullmatch(path) and not scope["query_string"] and not scope.get("root_path"):
        return path, ""
    return request.url.path, request.url.query


def _bad() -> BadIdempotencyKey:
    return BadIdempotencyKey(
        f"Send one {NAME} of 1 to {LENGTH_MOST} printable ASCII characters in double quotes, such "
        f'as {NAME}: "8e03978e-40d5-43dd-bc93-6894a57f9324", or none.'
    )
