"""service.api.documentation: both pages work with no internet."""

import re

import httpx
import pytest

CONDITIONS = (("get", "If-None-Match"), ("patch", "If-Match"), ("delete", "If-Match"))
TAGGED = (
    ("/api/users", "post", "201"),
    ("/api/users/{id}", "get", "200"),
    ("/api/users/{id}", "get", "304"),
    ("/api/users/{id}", "patch", "200"),
)


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_every_asset_comes_from_the_service(client: httpx.AsyncClient, page: str) -> None:
    """All that a page loads is served here, and none of it is empty."""
    response = await client.get(page)
    assets = re.findall(r'(?:src|href)="([^"]+)"', response.text)

    assert response.status_code == 200
    assert any(asset.endswith(".js") for asset in assets)
    for asset in assets:
        assert asset.startswith("/"), asset
        loaded = await client.get(asset)
        assert loaded.status_code == 200
        assert len(loaded.content) > 100


@pytest.mark.parametrize("path", ["/docs/assets/nothing.js", "/docs/assets/..%2fcore.py"])
async def test_nothing_else_is_served(client: httpx.AsyncClient, path: str) -> None:
    """A file that is no asset is 404, as a problem."""
    response = await client.get(path)

    assert response.status_code == 404
    assert response.json()["type"] == "urn:holdfast:problem:not-found"


async def test_interface_is_described(client: httpx.AsyncClient) -> None:
    """/openapi.json has the paths of users, with their problems in the right media type."""
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert set(paths["/api/users"]) == {"get", "post"}
    assert set(paths["/api/users/{id}"]) == {"get", "patch", "delete"}
    for operation in [*paths["/api/users"].values(), *paths["/api/users/{id}"].values()]:
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"]
    for method, header in CONDITIONS:
        operation = paths["/api/users/{id}"][method]
        assert header in [each["name"] for each in operation["parameters"]]
        assert "bad-precondition" in operation["responses"]["400"]["description"]
        assert (method == "get") != ("412" in operation["responses"])
    for path, method, status in TAGGED:
        assert "ETag" in paths[path][method]["responses"][status]["headers"]
