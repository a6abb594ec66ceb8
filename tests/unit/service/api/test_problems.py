"""service.api.problems: every error of the interface is problem+json with a stable type."""

import json

import httpx
import pytest
from fastapi import FastAPI, HTTPException

from service import errors
from service.api.problems import problems

JSON = {"content-type": "application/json"}


def check(response: httpx.Response, status: int, name: str) -> dict[str, object]:
    """Assert that a response is the problem `name`, and return its body."""
    body: dict[str, object] = response.json()
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"urn:holdfast:problem:{name}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["request_id"] == response.headers["x-request-id"]
    return body


async def test_unknown_path(client: httpx.AsyncClient) -> None:
    """A path that is nowhere."""
    check(await client.get("/nowhere"), 404, "not-found")


async def test_no_redirect_for_a_trailing_slash(client: httpx.AsyncClient) -> None:
    """A redirect would name a host that clients behind the proxies do not know."""
    check(await client.get("/api/users/"), 404, "not-found")


async def test_wrong_method_names_all_right_ones(client: httpx.AsyncClient) -> None:
    """405 lists every method of the path, not those of the framework's first route alone."""
    response = await client.put("/api/users/1")

    check(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "DELETE, GET, HEAD, PATCH"


async def test_validation_lists_every_field(client: httpx.AsyncClient) -> None:
    """422 names each field that is wrong, and where it was."""
    response = await client.post("/api/users", json={"email": "nobody", "nmae": "x"})

    body = check(response, 422, "validation")
    found = body["errors"]
    assert isinstance(found, list)
    assert {(each["where"], each["field"]) for each in found} == {
        ("body", "email"),
        ("body", "name"),
        ("body", "nmae"),
    }


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/users?limit=0", "limit"),
        ("/api/users?limit=201", "limit"),
        ("/api/users?limit=x", "limit"),
        ("/api/users?order=sideways", "order"),
        ("/api/users/0", "id"),
        ("/api/users/-1", "id"),
        ("/api/users/9223372036854775808", "id"),
        ("/api/users/" + "9" * 5000, "id"),
        ("/api/users/1%00", "id"),
        ("/api/users/x", "id"),
    ],
)
async def test_bad_parameters(client: httpx.AsyncClient, path: str, field: str) -> None:
    """Parameters out of bounds never reach the database."""
    body = check(await client.get(path), 422, "validation")

    assert [each["field"] for each in body["errors"]] == [field]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "body",
    [
        b'{"email": "a@example.com", "name": "a\\u0000b"}',
        b'{"email": "a@example.com", "name": "\\ud800"}',
        b'{"email": ',
        b"[]",
        b"null",
        b"",
    ],
)
async def test_bad_bodies(client: httpx.AsyncClient, body: bytes) -> None:
    """NUL, a lone surrogate, half a document, no object, nothing: 422, and it can be written."""
    response = await client.post("/api/users", content=body, headers=JSON)

    check(response, 422, "validation")


async def test_values_are_not_echoed(client: httpx.AsyncClient) -> None:
    """What was sent may be secret: the answer does not repeat it."""
    response = await client.post("/api/users", json={"email": "hunter2", "name": "hunter2" * 99})

    check(response, 422, "validation")
    assert "hunter2" not in response.text


@pytest.mark.parametrize("body", [b"\xff\xfe", b"[" * 900])
async def test_unreadable_bodies(client: httpx.AsyncClient, body: bytes) -> None:
    """Bytes that are no text, or that nest without end, are refused and break nothing."""
    response = await client.post("/api/users", content=body, headers=JSON)

    assert response.status_code in {400, 422}
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_body_that_is_no_text(client: httpx.AsyncClient) -> None:
    """What the framework refuses without a name of ours has a type all the same."""
    response = await client.post("/api/users", content=b'{"email": "\xff"}', headers=JSON)

    check(response, 400, "bad-request")


@pytest.mark.parametrize("status", [400, 402, 415, 418])
async def test_a_refusal_without_a_name_of_its_own(
    app: FastAPI, client: httpx.AsyncClient, status: int
) -> None:
    """Of whatever status: its type is the general one, its headers stay."""

    async def refuse() -> None:
        raise HTTPException(status, "Not like this.", {"Retry-After": "7"})

    app.add_api_route("/refuse", refuse)
    response = await client.get("/refuse")

    body = check(response, status, "bad-request")
    assert body["detail"] == "Not like this."
    assert response.headers["retry-after"] == "7"


async def test_a_herd_is_told_to_come_back_apart(app: FastAPI, client: httpx.AsyncClient) -> None:
    """Retry-After is spread evenly from the error's own number of seconds to twice that."""

    async def fail() -> None:
        raise errors.StatementTimeout("slow", kind="test")

    app.add_api_route("/fail", fail)
    told = [int((await client.get("/fail")).headers["retry-after"]) for _ in range(300)]

    least = errors.StatementTimeout.retry_after
    assert least is not None
    assert set(told) == set(range(least, 2 * least + 1))  # each is missed once in 10**23 runs
    assert max(told.count(each) for each in set(told)) < 150


async def test_bad_cursor(client: httpx.AsyncClient) -> None:
    """A cursor that is none is the client's error, found before any connection is asked for."""
    response = await client.get("/api/users", params={"cursor": "nonsense"})

    body = check(response, 400, "bad-cursor")
    assert "leave the cursor out" in str(body["detail"])
    assert "x-route" not in response.headers


async def test_database_away(client: httpx.AsyncClient, refusing_port: int) -> None:
    """A request that was held until its deadline is 503, says when to come back, names no host."""
    response = await client.post("/api/users", json={"email": "a@example.com", "name": "A"})

    body = check(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert "Nothing was applied" in str(body["detail"])
    assert str(refusing_port) not in response.text
    assert response.headers["x-route"] == "write"
    assert int(response.headers["x-attempts"]) > 1


async def test_read_with_no_endpoint_at_all(client: httpx.AsyncClient) -> None:
    """A read that found neither a reader nor the write endpoint is unavailable as well."""
    response = await client.get("/api/users/1")

    check(response, 503, "unavailable")
    assert response.headers["x-route"] == "read"


@pytest.mark.parametrize("name", errors.__all__)
async def test_every_error_of_the_tree_is_a_problem(
    app: FastAPI, client: httpx.AsyncClient, name: str
) -> None:
    """Whatever of the tree a service raises, the client gets its status and its type."""
    cls = getattr(errors, name)
    arguments = {"kind": "test"} if issubclass(cls, errors.DatabaseError) else {}
    if cls is errors.ConstraintViolated:
        arguments["constraint"] = "users_email_key"

    async def fail() -> None:
        raise cls("message for people", **arguments)

    app.add_api_route("/fail", fail)
    response = await client.get("/fail")

    check(response, cls.status, cls.problem)
    assert ("retry-after" in response.headers) == (cls.retry_after is not None)
    assert ("message for people" in response.text) == issubclass(cls, errors.RequestError)


async def test_unexpected_error(app: FastAPI, client: httpx.AsyncClient) -> None:
    """A mistake of ours is a 500 that tells the request's id and nothing of the mistake."""

    async def fail() -> None:
        raise RuntimeError("a detail of ours")

    app.add_api_route("/fail", fail)
    response = await client.get("/fail", headers={"x-request-id": "r-1"})

    body = check(response, 500, "internal")
    assert body["request_id"] == "r-1"
    assert response.headers["x-instance"] == "app-under-test"
    assert "a detail of ours" not in response.text


def test_described_problems_stand_alone() -> None:
    """OpenAPI resolves references from its own root: the schema must hold none."""
    described = problems(errors.NotFound, errors.CommitInDoubt, errors.Unavailable)

    assert set(described) == {404, 422, 503}
    assert "$ref" not in json.dumps(described)
    assert described[503]["description"] == (
        "`urn:holdfast:problem:commit-in-doubt`, `urn:holdfast:problem:unavailable`"
    )
