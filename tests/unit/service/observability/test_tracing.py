"""service.observability: traces, off and on, as far as they need no database and no collector."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from service.settings import SettingsError, load_settings

BOUND = 30.0  # seconds for a service's start, a request and its end
SERVE = """
import asyncio, json, sys
import httpx
from service.app import create_app
from service.settings import load_settings

async def main():
    app = create_app(load_settings())
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            return [
                (await client.get(path, headers=headers)).status_code
                for path in ("/api/users/1", "/nowhere")
            ]

print(json.dumps({"statuses": asyncio.run(main()), "modules": list(sys.modules)}))
"""
SERVED = [503, 404]
LIBRARIES = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "opentelemetry.proto",
    "google.protobuf",
)
OURS = ("service.observability.spans", "service.observability.tracing")


def serve(port: int, **settings: str) -> tuple[list[int], set[str]]:
    """Run a service whose database is away, for two requests; return statuses and modules."""
    environment = {
        **os.environ,
        "DB_WRITE_HOST": "127.0.0.1",
        "DB_WRITE_PORT": str(port),
        "DB_READ_PORT": str(port),
        "REQUEST_DEADLINE": "0.5",
        **settings,
    }
    done = subprocess.run(
        [sys.executable, "-c", SERVE],
        env=environment, capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    return told["statuses"], set(told["modules"])


def test_off_nothing_of_it_is_imported(refusing_port: int) -> None:
    """Without a collector there is no SDK in the process, no exporter, and no span of ours."""
    statuses, modules = serve(refusing_port, OTEL_EXPORTER_OTLP_ENDPOINT="")

    assert statuses == SERVED
    assert "service.observability.journal" in modules
    assert not modules.intersection([*LIBRARIES, *OURS, "requests"])


def test_on_it_is(refusing_port: int) -> None:
    """So that the test above would see it; a collector that is away holds nothing up."""
    collector = f"http://127.0.0.1:{refusing_port}"
    statuses, modules = serve(refusing_port, OTEL_EXPORTER_OTLP_ENDPOINT=collector)

    assert statuses == SERVED
    assert modules.issuperset([*LIBRARIES, *OURS, "requests"])


def test_the_sdks_own_switch(refusing_port: int) -> None:
    """OTEL_SDK_DISABLED: requests are served, none is traced."""
    collector = f"http://127.0.0.1:{refusing_port}"
    disabled = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_SDK_DISABLED": "true"}
    assert serve(refusing_port, **disabled)[0] == SERVED


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("http://collector:4318", True),
        ("https://collector.example.org/otlp/", True),
        ("http://[::1]:4318", True),
        ("collector:4318", False),
        ("grpc://collector:4317", False),
        ("http://user:password@collector:4318", False),  # it would be in the log
        ("http://collector:4318?key=secret", False),
        ("http://", False),
    ],
)
def test_where_traces_go(monkeypatch: pytest.MonkeyPatch, url: str, *, good: bool) -> None:
    """A URL of HTTP, without a login; what is none is said at start, by name."""
    monkeypatch.setenv("DB_WRITE_HOST", "there")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    if good:
        assert load_settings().otel_exporter_otlp_endpoint == url
    else:
        with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
            load_settings()


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("SELECT id FROM users WHERE id = $1", "SELECT users"),
        ("\n  select now()", "SELECT"),
        ("INSERT INTO public.users (email) VALUES ($1)", "INSERT public.users"),
        ("UPDATE users SET name = $1", "UPDATE users"),
        ("DELETE FROM users WHERE id = $1", "DELETE users"),
        ("PREPARE SELECT id FROM users", "PREPARE SELECT users"),
        ("BEGIN", "BEGIN"),
        ("COMMIT; SELECT position_after_commit('a', 'b') FROM somewhere", "COMMIT"),
        ("$1", "QUERY"),
        ("", "QUERY"),
    ],
)
def test_a_statements_span_has_a_short_name(text: str, summary: str) -> None:
    """What it does, and to which table; never a value."""
    from service.observability.spans import summary_of  # noqa: PLC0415 - on alone

    assert summary_of(text) == summary
