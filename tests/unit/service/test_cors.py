"""Pages of other origins: none may call the API unless CORS_ORIGINS names them."""

import httpx
import pytest

from service.app import create_app
from service.settings import Settings, SettingsError, load_settings

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
