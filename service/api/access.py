"""Who may do what: bearer tokens (RFC 6750), asked for as far as ACCESS says.

The file of tokens has a line for each: a name, its scopes, the SHA-256 of the token in hex, and
when it expires, if it does.

    ci        read,write  4be2...
    reporting read        93a1...  2027-02-01T00:00:00Z

A token is made by `holdfast access add`, of 256 random bits: a fast hash is enough for what cannot
be guessed. The file is read again when it changes, so that tokens come and go without a restart;
one that cannot be read or understood changes nothing, and is logged once.
"""

import hashlib
import hmac
import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Scope

from service.api.problems import problem
from service.errors import Forbidden, RequestError, Unauthenticated
from service.observability.record import current_record

# For OpenAPI, and the documentation's form: the gate below decides.
bearer = HTTPBearer(auto_error=False, description="Needed as far as the service's ACCESS says")

PROTECTED = "/api/"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOOK = 1.0
"""Seconds between two looks at the file."""

REALM = 'Bearer realm="holdfast"'
_LINE = re.compile(r"([A-Za-z0-9._-]{1,63})\s+([a-z,]+)\s+([0-9a-f]{64})(?:\s+([0-9TZ:-]{20}))?")
_MOMENT = "%Y-%m-%dT%H:%M:%SZ"
# RFC 6750, 2.1: b64token.
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]+=*) *", re.IGNORECASE)

logger = structlog.get_logger()


class Access(StrEnum):
    """What a token is asked for."""

    OPEN = "open"  # nothing
    WRITES = "writes"
    ALL = "all"


class Right(StrEnum):
    """What a token may be good for."""

    READ = "read"
    WRITE = "write"


class TokensError(Exception):
    """The file of tokens is missing or wrong; the message says where, and quotes nothing of it."""


def describe(schema: dict[str, Any], access: Access) -> dict[str, Any]:
    """Make an OpenAPI document say which operations ask for a token, and which only take one."""
    for operations in schema["paths"].values():
        for method, operation in operations.items():
            if "security" not in operation or access is Access.ALL:
                continue
            if access is Access.OPEN:
                del operation["security"]
            elif method.upper() in SAFE:
                operation["security"].insert(0, {})  # none will do as well
    if access is Access.OPEN:
        del schema["components"]["securitySchemes"]
    return schema


@dataclass(frozen=True, slots=True)
class Holder:
    """Whom a token belongs to."""

    name: str
    rights: frozenset[Right]
    digest: bytes  # SHA-256 of the token
    expires: float = math.inf  # Unix time, in seconds


def parse(text: str) -> list[Holder]:
    """Return the holders in a file's text. Raises TokensError."""
    holders = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        holder = _holder(line.strip())
        if holder is None:
            raise TokensError(
                f"line {number}: it must be a name, its scopes (read, write or read,write), the "
                "SHA-256 of the token in 64 hexadecimal digits and, if it expires, when "
                "(2027-01-31T00:00:00Z)"
            )
        holders.append(holder)
    return holders


def _holder(line: str) -> Holder | None:
    """Return whom a line is about; None when it cannot be understood."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    try:
        rights = frozenset(map(Right, found[2].split(",")))
        expires = datetime.strptime(found[4], _MOMENT).replace(tzinfo=UTC) if found[4] else None
    except ValueError:
        return None
    end = math.inf if expires is None else expires.timestamp()
    return Holder(found[1], rights, bytes.fromhex(found[3]), end)


class Tokens:
    """The tokens in a file, as it is now."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises TokensError."""
        self._path = path
        self._seen: tuple[int, int, int] | None = self._stamp()
        self._complaint = ""  # the last that was logged
        self._looked = time.monotonic()
        self._holders = self._read()

    def holder(self, token: str) -> Holder | None:
        """Return whose token this is. Takes the same time whichever it is, and if it is none."""
        self._refresh()
        digest = hashlib.sha256(token.encode()).digest()
        return _matching(self._holders, digest)

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp
                self._holders = self._read()
                self._complaint = ""
        except TokensError as error:
            if str(error) != self._complaint:
                logger.error("bad file of tokens; the last good one counts", error=str(error))  # noqa: TRY400 - no trace of ours says more
            self._complaint = str(error)

    def _stamp(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            self._seen = None  # what comes back is read
            raise TokensError(f"{self._path}: {error.strerror}") from error
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> list[Holder]:
        try:
            return parse(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeError) as error:
            raise TokensError(f"{self._path}: it cannot be read: {type(error).__name__}") from error
        except TokensError as error:
            raise TokensError(f"{self._path}, {error}") from None


class Gate:
    """Lets a request through to /api when it may do what it asks for, before its body is read."""

    def __init__(self, access: Access, tokens: Tokens | None) -> None:
        self._access = access
        self._tokens = tokens

    def refusal(self, scope: Scope) -> Response | None:
        """Note who asks; return the answer to a request that may not go on."""
        if self._tokens is None or not scope["path"].startswith(PROTECTED):
            return None
        given = Headers(scope=scope).getlist("authorization")
        return self._refusal(self._tokens, scope["method"], given)

    def _refusal(self, tokens: Tokens, method: str, given: list[str]) -> Response | None:
        right = Right.READ if method in SAFE else Right.WRITE
        if not given:
            if self._access is Access.ALL or right is Right.WRITE:
                return _refuse(Unauthenticated(f"Send a token with the scope `{right}`."), REALM)
            return None
        sent = _BEARER.fullmatch(given[0].strip()) if len(given) == 1 else None
        holder = tokens.holder(sent[1]) if sent else None
        if holder is None:
            unknown = Unauthenticated(
                "The token is not known here, or is no bearer token any more."
            )
            return _refuse(unknown, f'{REALM}, error="invalid_token"')
        current_record().client = holder.name
        if time.time() >= holder.expires:
            when = datetime.fromtimestamp(holder.expires, UTC).strftime(_MOMENT)
            expired = Unauthenticated(f"The token of {holder.name} expired at {when}; get another.")
            return _refuse(expired, f'{REALM}, error="invalid_token"')
        if right not in holder.rights:
            forbidden = Forbidden(f"The token of {holder.name} does not have the scope `{right}`.")
            return _refuse(forbidden, f'{REALM}, error="insufficient_scope", scope="{right}"')
        return None


def _matching(holders: Iterable[Holder], digest: bytes) -> Holder | None:
    found = None
    for holder in holders:  # all of them, also after a match
        if hmac.compare_digest(holder.digest, digest):
            found = holder
    return found


def _refuse(error: RequestError, challenge: str) -> Response:
    # The body is left unread, so the connection cannot carry another request.
    headers = {"WWW-Authenticate": challenge, "Connection": "close"}
    return problem(
        error.status, error.problem, title=error.title, detail=str(error), headers=headers
    )
