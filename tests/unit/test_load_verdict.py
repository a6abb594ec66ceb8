"""What a client knows after an answer, or without one."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from ops.load.operation import Kind, Outcome
from ops.load.request import Request
from ops.load.verdict import PROBLEMS, WRONG, of_answer, of_error
from service import errors

CREATE = Request(Kind.CREATE, "a@example.org", "/api/users", "Ada", key="k")
CHANGE = Request(
    Kind.CHANGE, "a@example.org", "/api/users/1", "Ada", expected=1, condition="1-a", key="k"
)
READ = Request(Kind.READ, "a@example.org", "/api/users/1")
USER = {"id": 1, "email": "a@example.org", "name": "Ada"}


def answer(status: int, body: object = None, **headers: str) -> httpx.Response:
    """An answer as httpx has it; an underscore in a header's name stands for a hyphen."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers=named)


def problem(status: int, name: str, **headers: str) -> httpx.Response:
    """A problem of the service's."""
    return answer(status, {"type": PROBLEMS + name}, **headers)


def test_success_is_about_the_right_entity() -> None:
    """And tells its version, tag, token, place, instance and durability."""
    told = {"ETag": '"3-a"', "Consistency_Token": "t", "Location": "/api/users/1"}
    user = USER | {"version": 3, "etag": "3-a"}
    verdict = of_answer(CREATE, answer(201, user, **told, X_Instance="app1", Durability="local"))
    assert (verdict.outcome, verdict.error, verdict.version) == (Outcome.OK, "", 3)
    assert (verdict.tag, verdict.found) == ("3-a", None)
    assert (verdict.token, verdict.location) == ("t", "/api/users/1")
    assert (verdict.instance, verdict.durable) == ("app1", False)


def test_tags_may_be_missing_but_not_differ() -> None:
    """A service may have none; an ETag and a body that contradict each other are a wrong answer."""
    missing = of_answer(READ, answer(200, USER))
    assert (missing.outcome, missing.version, missing.tag) == (Outcome.OK, None, None)
    assert of_answer(READ, answer(200, USER | {"etag": "2-a"})).tag == "2-a"
    assert of_answer(READ, answer(200, USER, ETag='W/"2-a"')).tag == "2-a"
    assert of_answer(READ, answer(200, USER | {"etag": "2-a"}, ETag='"2-b"')).error == WRONG


def test_a_change_tells_whom_it_has_changed() -> None:
    """The stranger of its answer, if it is one, for the checker."""
    verdict = of_answer(CHANGE, answer(200, USER | {"email": "b@example.org", "version": 2}))
    assert (verdict.outcome, verdict.error) == (Outcome.UNKNOWN, WRONG)
    assert (verdict.found, verdict.version) == ("b@example.org", 2)


def test_a_change_sends_the_tag_as_it_came() -> None:
    """In double quotes; without one it has no condition."""
    assert CHANGE.headers()["If-Match"] == '"1-a"'
    assert "If-Match" not in replace(CHANGE, condition=None).headers()


@pytest.mark.parametrize("body", [USER | {"email": "b@example.org"}, USER | {"name": 1}, [], None])
def test_success_about_something_else_is_none(body: object) -> None:
    """A write may have happened all the same; a read just failed."""
    assert of_answer(CREATE, answer(201, body)).outcome is Outcome.UNKNOWN
    assert of_answer(READ, answer(200, body)).outcome is Outcome.FAILED


def test_a_write_answers_with_what_was_written() -> None:
    """A read may find any name."""
    assert of_answer(CHANGE, answer(200, USER | {"name": "Bob"})).error == WRONG
    assert of_answer(READ, answer(200, USER | {"name": "Bob"})).value == "Bob"


@pytest.mark.parametrize(
    ("refusal", "outcome", "again"),
    [
        (problem(503, "unavailable"), Outcome.FAILED, True),
        (problem(503, "overloaded"), Outcome.FAILED, True),
        (problem(503, "commit-in-doubt"), Outcome.UNKNOWN, True),
        (problem(409, "idempotency-key-in-flight"), Outcome.UNKNOWN, True),
        (problem(409, "email-in-use"), Outcome.FAILED, False),
        (problem(412, "precondition-failed"), Outcome.FAILED, False),
        (problem(500, "internal"), Outcome.UNKNOWN, False),
        (answer(503), Outcome.UNKNOWN, True),
        (answer(502), Outcome.UNKNOWN, True),
        (answer(504), Outcome.UNKNOWN, True),
        (answer(413), Outcome.FAILED, False),
    ],
)
def test_a_refused_write(refusal: httpx.Response, outcome: Outcome, *, again: bool) -> None:
    """FAILED only where the answer promises that nothing was changed."""
    verdict = of_answer(CREATE, refusal)
    assert (verdict.outcome, verdict.again) == (outcome, again)
    assert verdict.error
    assert of_answer(READ, refusal).outcome is Outcome.FAILED


def test_the_problems_are_the_services() -> None:
    """The names that leave a doubt exist."""
    assert errors.CommitInDoubt.problem == "commit-in-doubt"
    assert errors.KeyInFlight.problem == "idempotency-key-in-flight"


def test_retry_after_is_read() -> None:
    """Whole seconds, as the service sends it."""
    assert of_answer(READ, problem(503, "unavailable", Retry_After="3")).retry_after == 3.0
    assert of_answer(READ, problem(503, "unavailable", Retry_After="soon")).retry_after == 0.0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (httpx.ConnectError(""), Outcome.FAILED),
        (httpx.ConnectTimeout(""), Outcome.FAILED),
        (httpx.ReadTimeout(""), Outcome.UNKNOWN),
        (httpx.RemoteProtocolError(""), Outcome.UNKNOWN),
        (TimeoutError(), Outcome.UNKNOWN),
    ],
)
def test_a_write_without_an_answer(error: Exception, outcome: Outcome) -> None:
    """Unknown, unless nothing was sent."""
    verdict = of_error(CREATE, error)
    assert (verdict.outcome, verdict.error) == (outcome, type(error).__name__)
    assert verdict.again
    assert of_error(READ, error).outcome is Outcome.FAILED
