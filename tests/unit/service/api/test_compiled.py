"""service.api.compiled: a compiled route answers as FastAPI does, byte for byte, or leaves it."""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import pytest
from fastapi import Depends, FastAPI
from fastapi.exceptions import ResponseValidationError

from service.api import compiled
from service.api.compiled import include
from service.api.plans import Plan
from service.app import create_app
from service.database import Written
from service.database.commit import Commit, Position
from service.errors import EmailInUse, NotFound, TokenAhead, Unavailable
from service.users import router as users
from service.users.schemas import User, UserPage
from tests.unit.service.api.endpoints import Things

if TYPE_CHECKING:
    from fastapi.routing import APIRoute
    from starlette.types import Message

    from service.settings import Settings

MOMENT = datetime(2026, 11, 27, 10, 30, 0, 123456, tzinfo=UTC)
ADA = User(
    id=1, email="ada@example.org", name="Äda", created_at=MOMENT, updated_at=MOMENT,
    version=3, etag="3-x",
)  # fmt: skip
NEW = b'{"email": "ada@example.org", "name": "Ada"}'
EXPIRES = re.compile(rb" expires=[^;]*;")  # of a cookie: two requests may be of two seconds
JSON = (b"content-type", b"application/json")
TOKEN = (b"consistency-token", b"AgAAAAEAAAAAAwSHMHwZ4KJMqbEa")
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]


class People:
    """What routes call, without a database; what it does depends on the id."""

    async def get(self, user_id: int, _: object) -> User:
        """Return Ada, or fail."""
        failures: dict[int, Exception] = {
            404: NotFound("There is no user 404."),
            409: TokenAhead("ahead", kind="token-ahead", certain=True),
            500: RuntimeError("nobody expected it"),
            503: Unavailable("away", kind="refused"),
        }
        if user_id in failures:
            raise failures[user_id]
        return ADA

    async def list(self, order: str, limit: int, cursor: str | None, _: object) -> UserPage:
        """Tell what was asked for."""
        return UserPage(items=[ADA] * min(limit, 3), next=f"{order} {cursor}")

    async def create(self, new: Any, key: Any) -> Written[User]:  # noqa: ANN401
        """Return what was sent."""
        if new.name == "taken":
            raise EmailInUse("Another user has this email address; case makes no difference.")
        user = ADA.model_copy(update={"email": new.email, "name": new.name})
        return Written(user, Commit(False, Position(1, 2, 3)), recalled=key.lifetime is None, own=False)  # fmt: skip  # noqa: E501

    async def change(self, *_: object) -> Written[User]:
        """Return Ada."""
        return Written(ADA, Commit(False, Position(1, 2)), recalled=False, own=False)

    async def delete(self, *_: object) -> Written[None]:
        """Do nothing."""
        return Written(None, Commit(False, Position(1, 2)), recalled=False, own=False)


async def ask(
    app: FastAPI,
    method: str,
    target: str,
    *headers: tuple[bytes, bytes],
    body: bytes = b"",
    cut: bool = False,
) -> Answer:
    """Send one request as a server would, its body in two parts, and return what was sent back.

    `cut`: the second part never comes.
    """
    random.seed(0)  # Retry-After is spread
    path, _, query = target.partition("?")
    sent = [*headers, (b"x-request-id", b"the-same")]
    if body:
        sent.append((b"content-length", b"%d" % len(body)))
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
        "method": method, "path": unquote(path), "raw_path": path.encode(), "root_path": "",
        "query_string": query.encode(), "headers": sent, "client": ("c", 1),
        "server": ("s", 80), "state": {},
    }  # fmt: skip
    half = len(body) // 2
    parts = iter(
        [
            {"type": "http.request", "body": body[:half], "more_body": True},
            {"type": "http.request", "body": body[half:], "more_body": False},
        ][: 1 if cut else 2]
    )
    got: list[Message] = []

    async def receive() -> Message:
        return next(parts, {"type": "http.disconnect"})

    async def send(message: Message) -> None:
        got.append(dict(message))

    await app(scope, receive, send)
    content = b"".join(each.get("body", b"") for each in got[1:])
    headers = [(name, EXPIRES.sub(b"", value)) for name, value in got[0]["headers"]]
    return got[0]["status"], headers, content


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """The application, whose users are nobody's."""
    app = create_app(settings)
    app.state.users = People()
    return app


@pytest.fixture
def plain(settings: Settings) -> FastAPI:
    """The same, all of it FastAPI's own: where dependencies are replaced nothing is compiled."""
    app = create_app(settings)
    app.state.users = People()
    app.dependency_overrides[ask] = ask
    return app


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the routes whose plans have answered."""
    paths: list[str] = []
    answer = Plan._answer

    async def noted(plan: Plan, *args: Any) -> None:  # noqa: ANN401
        paths.append(plan.route.path)
        await answer(plan, *args)

    monkeypatch.setattr(Plan, "_answer", noted)
    return paths


def fields(**named: str) -> list[tuple[bytes, bytes]]:
    """Return raw headers."""
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]


READS: list[tuple[str, list[tuple[bytes, bytes]]]] = [
    ("/api/users/1", []),
    ("/api/users/1", [TOKEN]),
    ("/api/users/1", fields(if_none_match='"3-x"')),
    ("/api/users/1", fields(if_none_match='W/"3-x", "other"')),
    ("/api/users/1", fields(request_timeout="2.5", prefer="consistency-cookie")),
    ("/api/users/404", []),
    ("/api/users/409", [(b"cookie", b"consistency_token=AgAAAAEAAAAAAwSHMHwZ4KJMqbEa")]),
    ("/api/users/500", []),
    ("/api/users/503", []),
    ("/api/users/%31", []),
    ("/api/users?limit=2&order=oldest&cursor=abc", []),
    ("/api/users?limit=2&limit=3&order=newest", []),
    ("/api/users?unknown=1", []),
    ("/api/users?cursor=", []),
    ("/api/users?cursor=a%20b%C3%A4", []),
    ("/api/users", []),
]
LEFT_ALONE: list[tuple[str, list[tuple[bytes, bytes]]]] = [
    ("/api/users/0", []),
    ("/api/users/abc", []),
    ("/api/users/1.0", []),
    (f"/api/users/{2**63}", []),
    ("/api/users?limit=0", []),
    ("/api/users?limit=201&order=sideways", []),
    ("/api/users?limit=", []),
    ("/api/users?order=", []),
    ("/api/users/", []),
    ("/nowhere", []),
]
BAD: list[tuple[str, list[tuple[bytes, bytes]]]] = [
    ("/api/users/1", fields(if_none_match="3-x")),
    ("/api/users/1", fields(consistency_token="nonsense")),
    ("/api/users", [(b"cookie", b"consistency_token=nonsense")]),
    ("/api/users", fields(request_timeout="soon")),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("target", "headers"), READS + LEFT_ALONE + BAD)
async def test_a_read_is_answered_alike(
    app: FastAPI, plain: FastAPI, method: str, target: str, headers: list[tuple[bytes, bytes]]
) -> None:
    """Status, headers in their order, and body."""
    assert await ask(app, method, target, *headers) == await ask(plain, method, target, *headers)


@pytest.mark.parametrize(("target", "headers"), READS[:5] + READS[9:])
async def test_a_good_read_is_compiled(
    app: FastAPI, served: list[str], target: str, headers: list[tuple[bytes, bytes]]
) -> None:
    """The point of it."""
    status, _, _ = await ask(app, "GET", target, *headers)
    assert status in {200, 304}
    assert len(served) == 1


BODIES: list[tuple[bytes, bytes]] = [
    (b"application/json", NEW),
    (b"application/json; charset=utf-8", NEW),
    (b"application/vnd.api+json", NEW),
    (b"APPLICATION/JSON", NEW),
    (b"text/plain", NEW),
    (b"application/json", b""),
    (b"application/json", b"{"),
    (b"application/json", b"null"),
    (b"application/json", b'{"email": "ada@example.org"}'),
    (b"application/json", b'{"email": "ada@example.org", "name": "  Ada "}'),
    (b"application/json", b'{"email": "no address", "name": "", "more": 1}'),
    (b"application/json", b'{"email": "ada@example.org", "name": "taken"}'),
    (b"application/json", b'{"email": "ada@example.org", "name": "\xc3\xa4\xff"}'),
    (b"application/json", b"\xef\xbb\xbf" + NEW),
    (b"application/json", b"[" * 5000),
    (b"application/json", b'{"email": "ada@example.org", "name": ' + b"9" * 5000 + b"}"),
    (b"application/json", b" " * 1001),
]


@pytest.mark.parametrize("key", [[], fields(idempotency_key='"mine"'), fields(idempotency_key="ä")])
@pytest.mark.parametrize(("kind", "body"), BODIES)
async def test_a_write_is_answered_alike(
    app: FastAPI, plain: FastAPI, kind: bytes, body: bytes, key: list[tuple[bytes, bytes]]
) -> None:
    """A key that was made here is another each time; all else is the same."""
    both = []
    for each in (app, plain):
        status, headers, content = await ask(
            each, "POST", "/api/users", (b"content-type", kind), *key, body=body
        )
        made = not key
        named = [
            (name, value) for name, value in headers if not (made and name == b"idempotency-key")
        ]
        both.append((status, named, content))
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("method", "target", "headers", "body"),
    [
        ("PATCH", "/api/users/1", [JSON, (b"if-match", b'"3-x"')], b'{"name": "Ada"}'),
        (
            "PATCH",
            "/api/users/1",
            [JSON, (b"if-match", b'"a"'), (b"if-match", b'"b"')],
            b'{"name": "B"}',
        ),
        ("PATCH", "/api/users/1", [JSON], b"{}"),
        ("PATCH", "/api/users/1", [JSON], b'{"name": null}'),
        ("PATCH", "/api/users/0", [JSON], b'{"name": "Ada"}'),
        ("DELETE", "/api/users/1", [], b""),
        ("PUT", "/api/users/1", [], b""),
        ("POST", "/api/users", [JSON, (b"prefer", b"consistency-cookie")], NEW),
        ("POST", "/api/users", [JSON, (b"prefer", b"a, Consistency-Cookie ")], NEW),
        ("POST", "/api/users", [JSON, (b"prefer", b"a"), (b"prefer", b"consistency-cookie")], NEW),
        ("POST", "/api/users", [JSON, TOKEN], NEW),
        ("OPTIONS", "/api/users", [], b""),
    ],
)
async def test_other_requests_are_answered_alike(
    app: FastAPI, plain: FastAPI, method: str, target: str, headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:  # fmt: skip
    """Changes and deletions, cookies, methods that a path does not take."""
    headers = [*headers, (b"idempotency-key", b'"mine"')]
    both = [await ask(each, method, target, *headers, body=body) for each in (app, plain)]
    assert both[0] == both[1]


def test_what_is_asked_for_most_is_compiled() -> None:
    """Of the users' routes all but the one that answers without a body."""
    routes = cast("list[APIRoute]", users.router.routes)
    own = [route for route, plan in compiled._plans(FastAPI(), [users.router]) if plan is None]
    assert [(route.methods, route.path) for route in own] == [({"DELETE"}, "/api/users/{id}")]
    assert len(routes) == 5


# ---------------------------------------------------------------- endpoints of somebody else
THINGS = [
    ("GET", "/things/generator", [], b""),
    ("GET", "/things/function", [], b""),
    ("GET", "/things/background", [], b""),
    ("GET", "/things/cookie", [(b"cookie", b"mine=x")], b""),
    ("GET", "/things/many?q=1&q=2", [(b"h", b"a"), (b"h", b"b")], b""),
    ("GET", "/things/text", [], b""),
    ("GET", "/things/shaped", [], b""),
    ("POST", "/things/two", [JSON], b'{"one": {"name": "a"}, "other": {"name": "b"}}'),
    ("POST", "/things/again", [JSON], b'{"name": "a"}'),
    ("GET", "/things/raw", [], b""),
    ("GET", "/things/anything?limit=7", [], b""),
    ("GET", "/things/anything?limit=-7", [], b""),
    ("GET", "/things/a%2Fb", [], b""),
]


@dataclass
class Both:
    """Two applications with the same endpoints: compiled as far as may be, and FastAPI's own."""

    mixed: FastAPI
    own: FastAPI
    done: list[str]


@pytest.fixture
def both() -> Both:
    """The two."""
    things, others = Things(), Things()
    mixed, own = FastAPI(), FastAPI()
    include(mixed, things.router)
    own.include_router(others.router)
    return Both(mixed, own, things.done)


@pytest.mark.parametrize(("method", "target", "headers", "body"), THINGS)
async def test_any_endpoint_simply_works(
    both: Both, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """Whatever a route has, it is answered as FastAPI answers it."""
    mixed = await ask(both.mixed, method, target, *headers, body=body)
    assert mixed == await ask(both.own, method, target, *headers, body=body)
    assert mixed[0] == {"anything?limit=-7": 422, "a%2Fb": 404}.get(target[8:], 200)
    assert both.done == {"generator": ["closed"], "background": ["task"]}.get(target[8:], [])


async def test_an_answer_that_is_no_answer_is_an_error(both: Both) -> None:
    """A result that does not fit its model is nobody's to see."""
    for app in (both.mixed, both.own):
        with pytest.raises(ResponseValidationError):
            await ask(app, "GET", "/things/wrong")


async def test_dependencies_of_the_application_count() -> None:
    """They are known when the first request comes; nothing is compiled past them."""
    called: list[str] = []

    async def everywhere() -> None:
        called.append("asked")

    app = FastAPI(dependencies=[Depends(everywhere)])
    include(app, Things().router)
    assert (await ask(app, "GET", "/things/raw"))[0] == 200
    assert called == ["asked"]


async def test_a_client_that_leaves_in_its_body_is_no_error_of_ours(
    app: FastAPI, plain: FastAPI, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is logged but the request, and it is counted as the client's own fault."""
    answers = [
        await ask(each, "POST", "/api/users", JSON, body=NEW, cut=True) for each in (app, plain)
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 400
    assert "unexpected error" not in "".join(capfd.readouterr())


async def test_a_client_that_leaves_takes_nothing_along(app: FastAPI) -> None:
    """Its request ends with its task; the next one is served."""
    held = asyncio.Event()

    class Slow(People):
        async def get(self, *_: object) -> User:
            held.set()
            await asyncio.Event().wait()
            return ADA

    app.state.users = Slow()
    task = asyncio.create_task(ask(app, "GET", "/api/users/1"))
    await held.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    app.state.users = People()
    assert (await ask(app, "GET", "/api/users/1"))[0] == 200
