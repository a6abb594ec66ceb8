"""/docs and /redoc with assets from the fastapi-offline package: they work with no internet."""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

ASSETS = "/docs/assets"


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Describe parameters as they come: there or not, but never null."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                described = parameter["schema"]
                choices = [each for each in described.pop("anyOf", ()) if each["type"] != "null"]
                if choices:
                    (only,) = choices
                    described |= only
    return schema


def mount(app: FastAPI, complete: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Add both pages and their assets to `app`, whose own must be switched off.

    `complete` puts into the OpenAPI document what only the settings know.
    """
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(_without_null(plain()))
        return app.openapi_schema

    # FastAPI's own way to extend it.
    app.openapi = openapi  # type: ignore[method-assign]
    directory = str(files("fastapi_offline") / "static")
    icon = f"{ASSETS}/favicon.png"

    async def swagger() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=str(app.openapi_url),
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=icon,
        )

    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url=str(app.openapi_url),
            title=app.title,
            redoc_js_url=f"{ASSETS}/redoc.standalone.js",
            redoc_favicon_url=icon,
            with_google_fonts=False,
        )

    app.mount(ASSETS, StaticFiles(directory=directory), name="documentation-assets")
    app.add_api_route("/docs", swagger, include_in_schema=False)
    app.add_api_route("/redoc", redoc, include_in_schema=False)
