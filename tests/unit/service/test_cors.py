"""Pages of other origins: none may call the API unless CORS_ORIGINS names them."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import TOLD, create_app
from service.database import Route
from service.observability.record import RequestRecord
from service.settings import Settings, SettingsError, load_settings
from tests.headers import NOT_FOR_PAGES, SAFELISTED

THEIRS, OTHER = "https://app.example.org", "https://evil.example.org"


async def ask(settings: Settings, origin: str, method: str = "OPTIONS") -> httpx.Response:
    """Send what a browser sends before a page's POST, or a plain request of a page."""
    headers = {"Origin": origin}
    if method == "OPTIONS":
        headers |= {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type, idempotency-key, authorization",
        }
    transport = httpx.ASGITransport(create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        return await client.request(method, "/openapi.json", headers=headers)


@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
async def test_off_unless_set(settings: Settings, method: str) -> None:
    """No header that a browser would take for a permission."""
    answer = await ask(settings, THEIRS, method)
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_an_origin_that_is_named(settings: Settings) -> None:
    """With the headers that it needs; another origin has none."""
    settings = settings.model_copy(update={"cors_origins": f"{THEIRS},http://localhost:3000"})
    allowed = await ask(settings, THEIRS)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == THEIRS
    seen = await ask(settings, THEIRS, "GET")
    assert "Consistency-Token" in seen.headers["access-control-expose-headers"]
    refused = await ask(settings, OTHER)
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("origins", ["*", "app.example.org", f"{THEIRS}/path", f"{THEIRS},"])
def test_what_is_no_origin(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    """Said at start, by name."""
    monkeypatch.setenv("DB_WRITE_HOST", "there")
    monkeypatch.setenv("CORS_ORIGINS", origins)
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        load_settings()


@pytest.fixture
def open_app(settings: Settings) -> FastAPI:
    """An application whose pages may be THEIRS."""
    return create_app(settings.model_copy(update={"cors_origins": THEIRS, "http_max_body": 10}))


def _page(app: FastAPI) -> httpx.AsyncClient:
    """What a page of THEIRS sends."""
    transport = httpx.ASGITransport(app)
    headers = {"Origin": THEIRS}
    return httpx.AsyncClient(transport=transport, base_url="http://service", headers=headers)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/fail", 500),
        ("GET", "/nowhere", 404),
        ("PUT", "/api/users", 405),
        ("POST", "/api/users", 413),
        ("GET", "/api/users?limit=x", 422),
        ("GET", "/api/users", 503),
    ],
)
async def test_pages_can_read_errors(
    open_app: FastAPI, method: str, path: str, status: int
) -> None:
    """Also one that nobody expected: else a page sees a network error, and no key to send again."""

    async def fail() -> None:
        raise RuntimeError

    open_app.add_api_route("/fail", fail)
    body = b"x" * 11 if method == "POST" else None
    async with open_app.router.lifespan_context(open_app), _page(open_app) as page:
        response = await page.request(method, path, content=body)

    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == THEIRS
    exposed = response.headers["access-control-expose-headers"].lower().split(", ")
    readable = {*exposed, *SAFELISTED}
    assert set(response.headers) - NOT_FOR_PAGES <= readable


async def test_pages_can_read_a_refusal(settings: Settings, tmp_path: Any) -> None:  # noqa: ANN401
    """401 is answered before the API: within CORS as well."""
    tokens = tmp_path / "tokens"
    tokens.touch()
    update = {"cors_origins": THEIRS, "access": "all", "access_tokens_file": tokens}
    async with _page(create_app(settings.model_copy(update=update))) as page:
        response = await page.get("/api/users")

    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == THEIRS
    assert "WWW-Authenticate" in response.headers["access-control-expose-headers"]


def test_every_header_of_the_record_is_exposed() -> None:
    """Whatever a request's record says in headers is for its client, in whatever program."""
    record = RequestRecord(
        "r-1", route=Route.WRITE, local_commit=True, idempotency_key='"k"', client="somebody"
    )
    told = {name.decode() for name, _ in record.headers("app1")}

    assert len(told) == 6
    assert told <= {name.lower() for name in TOLD}


def test_every_documented_header_is_exposed(open_app: FastAPI) -> None:
    """Of all responses in openapi.json."""
    documented = {
        name
        for operations in open_app.openapi()["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
        for name in response.get("headers", ())
    }

    assert "ETag" in documented
    assert documented <= set(TOLD)
