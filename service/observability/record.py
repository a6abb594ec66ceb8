"""The record of the request at hand: who fills it in is far from who writes it out.

The middleware opens it, the database's observer notes route and attempts, and the headers, the
access log and every problem are written from it.
"""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers

from service.database import Route

# Taken from the client only when it is harmless in a log and in a header.
_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass(slots=True)
class RequestRecord:
    """One request."""

    request_id: str
    status: int = 0  # of the response; 0: it has not begun
    route: Route | None = None  # None: the database was not asked
    attempts: int = 0
    local_commit: bool = False
    commits: int = 0  # sent, without those whose effect is known to be absent
    idempotency_key: str = ""  # as the header has it; empty: no write
    client: str = ""  # the name of the token's holder; empty: anybody
    client_ip: str = ""  # as the edge saw it
    client_request_id: str = ""  # the client's own, beside the edge's

    @property
    def answered(self) -> bool:
        """Whether the response has begun."""
        return self.status != 0

    def headers(self, instance: str) -> list[tuple[bytes, bytes]]:
        """Return the headers that tell the client what happened to its request."""
        told = {"X-Request-Id": self.request_id, "X-Instance": instance}
        if self.route is not None:
            told |= {"X-Route": self.route, "X-Attempts": str(self.attempts)}
        if self.idempotency_key:
            told["Idempotency-Key"] = self.idempotency_key
        if self.local_commit:
            told["Durability"] = "local"
        return [(name.lower().encode(), value.encode("latin-1")) for name, value in told.items()]


# What runs outside of a request writes into a record of its own, which nobody reads.
_current: ContextVar[RequestRecord | None] = ContextVar("holdfast_request", default=None)


def current_record() -> RequestRecord:
    """Return the record of the request that is running, or an empty one outside of any."""
    return _current.get() or RequestRecord(request_id="")


@contextmanager
def request_record(headers: Headers) -> Iterator[RequestRecord]:
    """Keep a record within the block, of a request with these headers.

    Behind the stack's edge `X-Request-Id` is the edge's, and what the client called its request is
    in `X-Client-Request-Id`; the first address in `X-Forwarded-For` is the client's.
    """
    # Of each name the first; one pass for all that is looked up.
    first = dict(reversed(headers.raw))
    record = RequestRecord(
        _sane(first.get(b"x-request-id", b"")) or uuid.uuid4().hex,
        client_ip=_sane(first.get(b"x-forwarded-for", b"").partition(b",")[0]),
        client_request_id=_sane(first.get(b"x-client-request-id", b"")),
    )
    token = _current.set(record)
    try:
        yield record
    finally:
        _current.reset(token)


def _sane(claimed: bytes) -> str:
    """Return what somebody else made up, if it does no harm; else nothing."""
    return claimed.decode() if _SANE_ID.fullmatch(claimed) else ""
