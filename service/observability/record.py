"""The record of the request at hand: who fills it in is far from who writes it out.

The outermost layer opens it, the database's observer notes route and attempts, and the headers, the
access log and every problem are written from it.
"""

import random
import re
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from service.database import Route

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]

# Taken from the client only when it is harmless in a log and in a header.
_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class Trace(Protocol):
    """The trace that a request is part of (service/observability/spans.py)."""

    @property
    def trace_id(self) -> str:
        """Its id, as the log has it."""


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
    trace: Trace | None = None

    @property
    def answered(self) -> bool:
        """Whether the response has begun."""
        return self.status != 0

    def headers(self, instance: bytes) -> RawHeaders:
        """Return the headers that tell the client what happened to its request."""
        told = [(b"x-request-id", self.request_id.encode()), (b"x-instance", instance)]
        if self.route is not None:
            told.append((b"x-route", self.route.encode()))
            told.append((b"x-attempts", b"%d" % self.attempts))
        if self.idempotency_key:
            told.append((b"idempotency-key", self.idempotency_key.encode("latin-1")))
        if self.local_commit:
            told.append((b"durability", b"local"))
        return told


# What runs outside of a request writes into a record of its own, which nobody reads.
_current: ContextVar[RequestRecord | None] = ContextVar("holdfast_request", default=None)


def current_record() -> RequestRecord:
    """Return the record of the request that is running, or an empty one outside of any."""
    return _current.get() or RequestRecord(request_id="")


class request_record:  # noqa: N801 - used as a function
    """Keep a record within the block, of a request with these headers.

    Behind the stack's edge `X-Request-Id` is the edge's, and what the client called its request is
    in `X-Client-Request-Id`; the first address in `X-Forwarded-For` is the client's.
    """

    __slots__ = ("_record", "_token")

    def __init__(self, headers: RawHeaders) -> None:
        # Of each name the first; one pass for all that is looked up.
        first = dict(reversed(headers))
        claimed = first.get(b"x-request-id")
        self._record = record = RequestRecord((claimed and _sane(claimed)) or _made_id())
        if (claimed := first.get(b"x-forwarded-for")) is not None:
            record.client_ip = _sane(claimed.partition(b",")[0])
        if (claimed := first.get(b"x-client-request-id")) is not None:
            record.client_request_id = _sane(claimed)

    def __enter__(self) -> RequestRecord:
        self._token = _current.set(self._record)
        return self._record

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def _made_id() -> str:
    """Return a new id: no secret, so no system call is made for it."""
    return f"{random.getrandbits(128):032x}"


def _sane(claimed: bytes) -> str:
    """Return what somebody else made up, if it does no harm; else nothing."""
    return claimed.decode() if _SANE_ID.fullmatch(claimed) else ""
