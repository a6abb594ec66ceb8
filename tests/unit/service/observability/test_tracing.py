"""service.observability: traces, off and on, as far as they need no database and no collector."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from service.app import create_app
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

told = {"statuses": asyncio.run(main()), "modules": list(sys.modules)}
print(json.dumps(told), file=sys.stderr)  # the exporter's thread may still log
"""
SERVED = [503, 404]
NO_BUNDLE = {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}  # `requests` would prefer these
LIBRARIES = (
    "opentelemetry.sdk",
    "opentelemetry.exporter",
    "opentelemetry.proto",
    "google.protobuf",
)
OURS = ("service.observability.spans", "service.observability.tracing")


def serve(port: int, **settings: str) -> tuple[list[int], set[str]]:
    """Run a service whose database is away, for two requests; return statuses and modules."""
    statuses, modules, _ = run(port, **settings)
    return statuses, modules


def log(port: int, **settings: str) -> list[str]:
    """Run such a service, which shall serve; return what its log says of traces."""
    statuses, _, lines = run(port, **settings)
    assert statuses == SERVED
    return [line for line in lines if "traces" in line]


def run(port: int, **settings: str) -> tuple[list[int], set[str], list[str]]:
    """Run such a service; return statuses, modules, and the log."""
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
    told = json.loads(done.stderr.splitlines()[-1])
    return told["statuses"], set(told["modules"]), done.stdout.splitlines()


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
    ("variable", "value", "sentence"),
    [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "should be greater than or equal to 1."),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "should be a valid integer"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1", "should be greater than or equal to 1."),
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "should be greater than or equal to 1."),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "should be 'none', 'gzip' or 'deflate'."),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd", "should be 'none', 'gzip' or"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "should be a valid number"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "should be greater than 0."),
        ("OTEL_TRACES_SAMPLER", "sometimes", "should be 'always_on',"),
        ("OTEL_TRACES_SAMPLER_ARG", "1%", "should be a valid number"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "should be less than or equal to 1."),
    ],
)
def test_a_wrong_setting_of_the_sdk_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    """It is told at start, as the service's own are; where nothing is traced nobody looks at it."""
    monkeypatch.setenv("DB_WRITE_HOST", "there")
    monkeypatch.setenv(variable, value)
    create_app(load_settings())
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    with pytest.raises(SettingsError) as raised:
        create_app(load_settings())
    assert str(raised.value).startswith(f"{variable} {sentence}")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "should be 'none', 'gzip' or 'deflate'."),
        # These two the SDK checks: one when it is imported.
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "x", "must be a non-negative integer but got x."),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "x", "must be a non-negative integer but got x."),
    ],
)
def test_the_service_ends_with_a_wrong_setting_of_the_sdk(
    workers: str, variable: str, value: str, sentence: str
) -> None:
    """As with one of its own: exit code 2, and one sentence."""
    settings = {
        "DB_WRITE_HOST": "127.0.0.1",
        "WORKERS": workers,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
        variable: value,
    }
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        env={**os.environ, **settings},
        capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"{variable} {sentence}"]


@pytest.mark.parametrize(
    "settings",
    [
        {"OTEL_BSP_MAX_QUEUE_SIZE": "256"},  # fewer than the SDK's 512 of a batch
        {"OTEL_BSP_MAX_QUEUE_SIZE": "1"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "200"},
        {"OTEL_BSP_MAX_QUEUE_SIZE": "", "OTEL_BSP_SCHEDULE_DELAY": ""},  # as compose.yaml says it
        {"OTEL_EXPORTER_OTLP_COMPRESSION": "GZIP", "OTEL_TRACES_SAMPLER": "Always_On"},
    ],
    ids=str,
)
def test_a_right_setting_of_the_sdk_is_taken(refusing_port: int, settings: dict[str, str]) -> None:
    """A batch is no larger than the queue: the SDK would refuse that."""
    collector = f"http://127.0.0.1:{refusing_port}"
    told = log(refusing_port, OTEL_EXPORTER_OTLP_ENDPOINT=collector, **settings)
    assert "traces are sent" in told[0]


def test_traces_that_cannot_begin_are_told_of_once(refusing_port: int) -> None:
    """The SDK may fail in ways that nobody foresaw: the service serves all the same, untraced."""
    told = log(
        refusing_port,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:99999",  # no port
        OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED="true",  # for these it looks
    )
    assert len(told) == 1
    assert "traces are not sent" in told[0]
    assert "ValueError" in told[0]


@pytest.mark.parametrize(
    ("scheme", "settings", "reason"),
    [
        # `requests` raises a plain OSError
        ("https", {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere/ca.pem"}, "OSError: Could not find"),
        # and UnicodeEncodeError
        (
            "http",
            {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=hunter2%E2%82%AC"},
            "UnicodeEncodeError",
        ),
        # and an InvalidHeader with the header's value
        (
            "http",
            {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=hunter2%0Ahunter2"},
            "InvalidHeader",
        ),
    ],
    ids=["certificate", "encoding", "header"],
)
def test_what_cannot_be_sent_has_its_reason(
    refusing_port: int, scheme: str, settings: dict[str, str], reason: str
) -> None:
    """The one warning says what failed, whatever it was; the collector's key is not in it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        collector = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        told = log(refusing_port, OTEL_EXPORTER_OTLP_ENDPOINT=collector, **NO_BUNDLE, **settings)
    assert len(told) == 2, told
    assert "traces are sent" in told[0]
    assert "traces are not delivered" in told[1]
    assert reason in told[1]
    assert "hunter2" not in told[1]


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
