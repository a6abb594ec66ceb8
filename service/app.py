"""`create_app`: the one place where the parts are put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI

from service.api import documentation, health, problems
from service.api.access import Access, Gate, Tokens, TokensError, describe
from service.api.application import Application
from service.api.compiled import include
from service.api.layer import RequestLayer
from service.database import Database, DatabaseOptions, EndpointOptions, RetryPolicy
from service.lifecycle import Lifecycle
from service.observability.journal import Journal
from service.observability.metrics import Metrics
from service.observability.observer import ServiceObserver
from service.settings import Settings, SettingsError, load_trace_settings
from service.users import router as users
from service.users.service import UserService
from service.workers.peers import Peers

if TYPE_CHECKING:
    from service.observability.tracing import Tracing

logger = structlog.get_logger()

VERSION = "0.1.0"

DESCRIPTION = """Users, kept in a PostgreSQL cluster that may lose any machine.

Every response says in its headers which instance answered (`X-Instance`), which route it took to
the database (`X-Route`: write, read or read-fallback) and in how many attempts (`X-Attempts`).
`Durability: local` marks a write that no standby has confirmed yet.

Send `Idempotency-Key` with a write, and send it again with the same key as often as you like: it is
applied once. Send a write's `Consistency-Token` with a read, and it sees at least that write. Send
a user's `ETag` as `If-Match` with a change, and nobody else's is overwritten.
`Request-Timeout` shortens the time for which a request is held through a failover."""

ASKED = (
    "Authorization",
    "Consistency-Token",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Prefer",
    "Request-Timeout",
    "Traceparent",
    "X-Request-Id",
)
TOLD = (
    "Allow",
    "Consistency-Token",
    "Durability",
    "ETag",
    "Idempotency-Key",
    "Idempotency-Replayed",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "WWW-Authenticate",
    "X-Attempts",
    "X-Instance",
    "X-Request-Id",
    "X-Route",
)
"""Headers that pages of CORS_ORIGINS may send, and see."""


def create_app(
    settings: Settings, lifecycle: Lifecycle | None = None, peers: Peers | None = None
) -> FastAPI:
    """Return the application. It connects to nothing before its lifespan begins.

    `peers`: the other processes of the instance, if there are any.
    """
    lifecycle = lifecycle or Lifecycle()
    metrics = Metrics()
    if peers is not None:
        peers.watch(metrics)
    tracing = _tracing(settings)
    tracer = None if tracing is None else tracing.spans
    database = Database(database_options(settings), ServiceObserver(metrics), tracer)
    metrics.watch(database)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            # At the end requests have had SHUTDOWN_TIMEOUT.
            async with tracing or nullcontext(), database:
                yield
        except Exception:  # the server would log its traceback as text, messages included
            logger.exception("the application could not start, or stop")
            raise

    app = Application(
        title="Holdfast",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # The service's metrics and log are its own.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.settings = settings
    app.state.lifecycle = lifecycle
    app.state.database = database
    app.state.registry = metrics.registry
    app.state.peers = peers
    app.state.users = UserService(database)
    include(app, users.router, health.router)
    documentation.mount(app, partial(describe, access=Access(settings.access)))
    problems.register(app)
    app.add_middleware(
        RequestLayer,
        instance=settings.app_name,
        journal=Journal(metrics) if tracing is None else tracing.journal(metrics),
        lifecycle=lifecycle,
        gate=Gate(Access(settings.access), _tokens(settings)),
        body_most=settings.http_max_body,
        cors=_cors(settings),
    )
    return app


def _tracing(settings: Settings) -> "Tracing | None":
    """Return what makes and sends traces, if they are wanted; else nothing of it is imported.

    Raises SettingsError.
    """
    if not settings.otel_exporter_otlp_endpoint:
        return None
    chosen = load_trace_settings()
    endpoint = settings.otel_exporter_otlp_endpoint
    try:  # the SDK reads bounds of spans when it is imported, and others when they are made
        from service.observability.tracing import Tracing  # noqa: PLC0415

        return Tracing(endpoint, database_options(settings), VERSION, chosen)
    except ValueError as error:  # its message begins with the variable
        raise SettingsError(f"{error}.") from error


def _cors(settings: Settings) -> dict[str, Any] | None:
    """Return what pages of other origins may do, if there are any that may."""
    if not settings.origins:
        return None
    return {
        "allow_origins": settings.origins,
        "allow_methods": ["GET", "POST", "PATCH", "DELETE"],
        "allow_headers": ASKED,
        "expose_headers": TOLD,
    }


def _tokens(settings: Settings) -> Tokens | None:
    """Return the tokens that requests are asked for. Raises SettingsError."""
    if Access(settings.access) is Access.OPEN:
        return None
    try:
        return Tokens(settings.access_tokens_file)
    except TokensError as error:
        sentence = f"ACCESS is {settings.access}, but ACCESS_TOKENS_FILE: {error}."
        raise SettingsError(sentence) from error


def database_options(settings: Settings) -> DatabaseOptions:
    """Return the database's part of the settings."""
    return DatabaseOptions(
        write=EndpointOptions(
            host=settings.db_write_host,
            port=settings.db_write_port,
            pool_min=settings.db_write_pool_min,
            pool_max=settings.db_write_pool_max,
        ),
        read=EndpointOptions(
            host=settings.read_host,
            port=settings.db_read_port,
            pool_min=settings.db_read_pool_min,
            pool_max=settings.db_read_pool_max,
            user=settings.db_read_user,
            password=partial(settings.password, "db_read_password"),
        ),
        name=settings.db_name,
        user=settings.db_user,
        password=partial(settings.password, "db_password"),
        sslmode=settings.db_sslmode,
        sslrootcert=settings.db_sslrootcert,
        application_name=settings.app_name,
        connect_timeout=settings.db_connect_timeout,
        acquire_timeout=settings.db_acquire_timeout,
        statement_timeout=settings.db_statement_timeout,
        tcp_timeout=settings.db_tcp_timeout,
        connection_max_age=settings.db_connection_max_age,
        probe_interval=settings.db_probe_interval,
        consistency_wait=settings.consistency_wait,
        local_allowed=settings.local_durability == "yes",
        key_lifetime=settings.idempotency_lifetime,
        key_purge_interval=settings.idempotency_purge_interval,
        held_most=settings.requests_held_most,
        retry=RetryPolicy(
            deadline=settings.request_deadline,
            attempts=settings.retry_attempts,
            backoff_first=settings.retry_backoff_first,
            backoff_most=settings.retry_backoff_most,
            key_wait=settings.idempotency_wait,
        ),
    )
