"""What an answer, or its absence, tells a client: done, not done, or nobody knows.

What the service promises is in docs/semantics.md. A write is FAILED only when it is certain that
nothing was changed; whatever leaves a doubt is UNKNOWN, also an answer that names no problem of the
service's, as a proxy may have sent the request on before it answered. A read changes nothing: all
but OK is FAILED.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from ops.load.operation import Kind, Outcome

if TYPE_CHECKING:
    from ops.load.request import Request

PROBLEMS = "urn:holdfast:problem:"

IN_DOUBT = frozenset({"commit-in-doubt", "idempotency-key-in-flight"})
"""Problems that leave it open what becomes of the write. The second: the edge sends a write again
when an instance fails, so the request in flight may be this one."""

AGAIN = frozenset({502, 503, 504})
"""Statuses after which the same request may succeed."""

NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""What happens before a byte of the request has left."""

WRONG = "wrong-answer"
"""The error of a success that is not about what was asked for."""

_ETAG = re.compile(r'(?:W/)?"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one try of a request came to."""

    outcome: Outcome
    status: int | None = None
    error: str = ""
    value: str | None = None  # the name in the answer
    version: int | None = None
    tag: str | None = None
    found: str | None = None  # whom the answer is about, if that is another entity
    again: bool = False  # the same request may be sent again, if it is safe to
    retry_after: float = 0.0  # seconds the answer asks to wait before that
    token: str | None = None
    location: str = ""
    durable: bool = True
    instance: str = ""


def of_error(request: Request, error: BaseException) -> Verdict:
    """Judge a try that had no answer; `error` is an httpx.TransportError or what cut it short."""
    unsent = isinstance(error, NOTHING_SENT)
    failed = unsent or request.kind is Kind.READ
    outcome = Outcome.FAILED if failed else Outcome.UNKNOWN
    again = isinstance(error, httpx.TransportError | TimeoutError)
    return Verdict(outcome, error=type(error).__name__, again=again)


def of_answer(request: Request, answer: httpx.Response) -> Verdict:
    """Judge an answer."""
    body = _object(answer)
    if answer.is_success:
        return _success(request, answer, body)
    problem = str(body.get("type", "")).removeprefix(PROBLEMS)
    refused = answer.is_client_error or (answer.status_code == httpx.codes.SERVICE_UNAVAILABLE)
    named = bool(problem) or answer.is_client_error
    certain = request.kind is Kind.READ or (refused and named and problem not in IN_DOUBT)
    return Verdict(
        outcome=Outcome.FAILED if certain else Outcome.UNKNOWN,
        status=answer.status_code,
        error=problem or f"status-{answer.status_code}",
        again=answer.status_code in AGAIN or problem == "idempotency-key-in-flight",
        retry_after=_seconds(answer.headers.get("Retry-After", "")),
        instance=answer.headers.get("X-Instance", ""),
    )


def _success(request: Request, answer: httpx.Response, body: dict[str, Any]) -> Verdict:
    """Judge an answer that says all is well: it has to be about what was asked for."""
    name, email, tags = body.get("name"), body.get("email"), _tags(answer, body)
    version = body.get("version")
    right = email == request.entity and isinstance(name, str) and len(tags) <= 1
    if request.kind is not Kind.READ:
        right = right and name == request.value
    headers = answer.headers
    wrong = Outcome.FAILED if request.kind is Kind.READ else Outcome.UNKNOWN
    return Verdict(
        outcome=Outcome.OK if right else wrong,
        status=answer.status_code,
        error="" if right else WRONG,
        value=name if isinstance(name, str) else None,
        version=version if isinstance(version, int) else None,
        tag=tags.pop() if len(tags) == 1 else None,
        found=email if isinstance(email, str) and email != request.entity else None,
        token=headers.get("Consistency-Token"),
        location=headers.get("Location", ""),
        durable=headers.get("Durability", "") != "local",
        instance=headers.get("X-Instance", ""),
    )


def _tags(answer: httpx.Response, body: dict[str, Any]) -> set[str]:
    """Return the tags in ETag and body: none, one, or two that contradict each other."""
    header = _ETAG.fullmatch(answer.headers.get("ETag", ""))
    told = (header[1] if header else None, body.get("etag"))
    return {tag for tag in told if isinstance(tag, str)}


def _object(answer: httpx.Response) -> dict[str, Any]:
    """Return the answer's JSON object, empty when it is none."""
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _seconds(retry_after: str) -> float:
    """Read Retry-After; a date is not honoured, as the service never sends one."""
    return float(retry_after) if retry_after.isdecimal() else 0.0
