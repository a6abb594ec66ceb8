"""What an operator can set, checked once at start.

Every setting is an environment variable of the field's name in capitals, or a file of the field's
name in the secrets directory (SECRETS_DIR, /run/secrets unless set); the environment wins. Nothing
is read when this module is imported: `load_settings()` reads, and everything else is passed in.
"""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.workers import cores

DEFAULT_SECRETS_DIR = "/run/secrets"

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
NonEmpty = Annotated[str, Field(min_length=1)]
# Both end up in places that take no arbitrary text: a response header, a startup message.
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")]

# Seconds that an answer may come after the deadline: COMMIT, and the question that follows it, each
# have a second of grace (COMMIT_GRACE in service/database/link.py).
OVERRUN = 2.0

# What workers divide, and of which each needs one.
DIVIDED_BY_ONE = ("db_write_pool_max", "db_read_pool_max", "requests_held_most")
DIVIDED = ("db_write_pool_min", "db_read_pool_min", *DIVIDED_BY_ONE)

_ORIGIN = r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?"
FOLLOWS = "default_factory_not_called"  # pydantic's word for what follows from a bad setting
COLLECTOR = r"^(?:https?://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._~/-]*)?)?$"  # no user, no query
ORIGINS = rf"^(?:{_ORIGIN}(?:,{_ORIGIN})*)?$"


class SettingsError(Exception):
    """A setting is missing or wrong; the message names the variable and what it may be."""


class Settings(BaseSettings):
    """The service's settings. Durations are in seconds."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    # Two endpoints, never a node (they are HAProxy's write and read ports).
    db_write_host: NonEmpty
    db_write_port: Port = 6432
    db_read_host: str = ""  # unset: the write host
    db_read_port: Port = 6433
    db_name: NonEmpty = "holdfast"
    db_user: NonEmpty = "holdfast_app"
    db_password: SecretStr | None = None
    # The read endpoint's own login; unset: the same. Best a role that cannot write at all.
    db_read_user: str = ""
    db_read_password: SecretStr | None = None
    db_sslmode: Literal["disable", "allow", "prefer", "require", "verify-full"] = "prefer"
    db_sslrootcert: str = ""  # the CA that verify-full trusts, a PEM file; unset: the system's

    # MIN connections are kept open, at most MAX exist. Two instances of the service at their
    # defaults use 40 of the stack's 200.
    db_write_pool_min: Annotated[int, Field(ge=0, le=1000)] = 2
    db_write_pool_max: Annotated[int, Field(ge=1, le=1000)] = 10
    db_read_pool_min: Annotated[int, Field(ge=0, le=1000)] = 2
    db_read_pool_max: Annotated[int, Field(ge=1, le=1000)] = 10

    # Waits on the database, each bounded.
    db_connect_timeout: Seconds = 1.0  # TCP, TLS and login together
    db_acquire_timeout: Seconds = 3.0  # for a free connection of a busy pool
    db_statement_timeout: Seconds = 5.0  # the server cancels a statement after this
    db_tcp_timeout: Seconds = 3.0  # a peer that is silent for this long is gone
    db_connection_max_age: Seconds = 60.0  # so that routes follow recovered nodes
    db_probe_interval: Seconds = 1.0  # how often an idle route is asked whether it serves

    # How long a request is held through a failover, and how often it is tried.
    request_deadline: Seconds = 15.0
    retry_attempts: Annotated[int, Field(ge=1, le=10000)] = 500
    retry_backoff_first: Seconds = 0.025
    retry_backoff_most: Seconds = 0.25

    # Requests in progress at a time, served or held; past it new ones get 503 at once.
    requests_held_most: Annotated[int, Field(ge=1, le=100_000)] = 2000

    # Processes. The bounds of pools and REQUESTS_HELD_MOST are the instance's: each has its part.
    # Unless set, half the processors that it may use, if there are two connections for each.
    workers: Annotated[int, Field(ge=1, le=256)] = Field(
        default_factory=lambda data: max(
            1, min(cores.half(), *(data[each] // 2 for each in DIVIDED_BY_ONE))
        )
    )

    idempotency_lifetime: Annotated[float, Field(ge=60, le=30 * 86400)] = 86400.0
    # For another request with the same key. Longer than a session of an instance that vanished can
    # hold it (DB_STATEMENT_TIMEOUT ends it when it is idle in its transaction).
    idempotency_wait: Seconds = 7.0
    idempotency_purge_interval: Seconds = 60.0
    # yes: a write with `Prefer: durability=local` is answered before a standby has it.
    local_durability: Literal["no", "yes"] = "no"
    consistency_wait: SecondsOrNone = 0.25  # for a replica behind a token; then the primary answers

    app_name: Label = Field(default_factory=lambda: socket.gethostname()[:63])
    http_host: NonEmpty = "0.0.0.0"  # noqa: S104 - a container's service listens to its network
    http_port: Port = 8000
    # Which requests to /api need a bearer token, and the file of those (service/api/access.py).
    access: Literal["open", "writes", "all"] = "open"
    access_tokens_file: Path = Path(DEFAULT_SECRETS_DIR, "tokens/access_tokens")
    # Origins, by commas, whose pages may call the API from a browser: https://app.example.org
    cors_origins: Annotated[str, Field(pattern=ORIGINS)] = ""
    http_max_body: Annotated[int, Field(ge=1)] = 65536  # bytes
    # Neither route served for this long: out of rotation. Unless set, REQUEST_DEADLINE and 15.
    health_grace: Seconds = Field(default_factory=lambda data: data["request_deadline"] + 15)
    drain_delay: SecondsOrNone = 2.0  # SIGTERM: unhealthy for this long before the listener closes
    # Then requests in flight get this long. Unless set, REQUEST_DEADLINE and 5.
    shutdown_timeout: Seconds = Field(default_factory=lambda data: data["request_deadline"] + 5)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    # Where traces go, by OTLP over HTTP (docs/traces.md): http://collector:4318; unset: none.
    otel_exporter_otlp_endpoint: Annotated[str, Field(pattern=COLLECTOR)] = ""

    # Alembic's side (alembic/env.py).
    migration_wait: Seconds = 120.0  # for a writable primary, and for another migration to end
    migration_lock_timeout: Seconds = 3.0  # a migration's longest wait for a table's lock
    migration_attempts: Annotated[int, Field(ge=1, le=100)] = 5  # when that wait times out

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for role in ("write", "read"):
            least, most = (getattr(self, f"db_{role}_pool_{end}") for end in ("min", "max"))
            if least > most:
                name = f"DB_{role.upper()}_POOL"
                raise ValueError(f"{name}_MIN ({least}) must not exceed {name}_MAX ({most})")
        for name in DIVIDED_BY_ONE:
            if self.workers > (most := getattr(self, name)):
                raise ValueError(
                    f"WORKERS ({self.workers}) must not exceed {name.upper()} ({most}), "
                    "of which each worker needs one"
                )
        if self.health_grace < self.request_deadline:
            raise ValueError(
                f"HEALTH_GRACE ({self.health_grace:g}) must be at least REQUEST_DEADLINE "
                f"({self.request_deadline:g}): else an instance leaves rotation during a failover "
                "that its requests would have survived"
            )
        if self.shutdown_timeout < self.request_deadline + OVERRUN:
            raise ValueError(
                f"SHUTDOWN_TIMEOUT ({self.shutdown_timeout:g}) must be at least REQUEST_DEADLINE "
                f"({self.request_deadline:g}) and {OVERRUN:g} more, for a COMMIT under way: else a "
                "stop cuts requests that would have had their answer"
            )
        return self

    def password(self, name: Literal["db_password", "db_read_password"]) -> str:
        """Return a password: as it is in its file now, or as the environment had it; or none."""
        if not os.environ.get(name.upper()):
            with suppress(OSError):  # none there, or it is just being replaced
                return (_secrets_directory() / name).read_text(encoding="utf-8").strip()
        value = getattr(self, name)
        return value.get_secret_value() if value else ""

    def part(self, worker: int) -> Self:
        """Return the settings of one worker; all parts together are the whole."""

        def share(whole: int) -> int:
            return whole // self.workers + (worker < whole % self.workers)

        return self.model_copy(update={name: share(getattr(self, name)) for name in DIVIDED})

    @property
    def origins(self) -> list[str]:
        """Those of CORS_ORIGINS."""
        return self.cors_origins.split(",") if self.cors_origins else []

    @property
    def read_host(self) -> str:
        """The host of the read endpoint: DB_READ_HOST, or the write endpoint's."""
        return self.db_read_host or self.db_write_host


Compression = Annotated[
    Literal["none", "gzip", "deflate"], BeforeValidator(lambda text: text.strip().lower())
]


class TraceSettings(BaseSettings):
    """OpenTelemetry's own variables: its SDK reads them, and would take or refuse them silently.

    Of these the environment alone counts, as for the SDK.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    otel_bsp_max_queue_size: Annotated[int, Field(ge=1, le=1_000_000)] = 2048  # spans
    otel_bsp_max_export_batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 512
    otel_bsp_schedule_delay: Annotated[int, Field(ge=1, le=3_600_000)] = 5000  # milliseconds
    otel_exporter_otlp_compression: Compression = "none"
    otel_exporter_otlp_traces_compression: Compression = "none"
    otel_exporter_otlp_timeout: Seconds = 10.0
    otel_exporter_otlp_traces_timeout: Seconds = 10.0
    otel_traces_sampler: Annotated[
        Literal[
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio",
        ],
        BeforeValidator(lambda text: text.lower()),
    ] = "parentbased_always_on"
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 1.0


def load_trace_settings() -> TraceSettings:
    """Read OpenTelemetry's variables from the environment. Raises SettingsError."""
    try:
        return TraceSettings()
    except ValidationError as error:
        raise SettingsError("\n".join(map(_sentence, error.errors()))) from None


def load_settings() -> Settings:
    """Read the settings from the environment and the secrets directory.

    Raises SettingsError with one sentence for each setting that is missing or wrong.
    """
    directory = _secrets_directory()
    secrets = directory if directory.is_dir() else None
    try:
        return Settings(_secrets_dir=secrets)
    except ValidationError as error:
        found = (item for item in error.errors() if item["type"] != FOLLOWS)
        raise SettingsError("\n".join(map(_sentence, found))) from None
    except ValueError as error:  # a secret that is a directory, or not text
        raise SettingsError(f"SECRETS_DIR {directory}: {error}.") from error


def _secrets_directory() -> Path:
    return Path(os.environ.get("SECRETS_DIR") or DEFAULT_SECRETS_DIR)


def _sentence(item: object) -> str:
    """Say what is wrong with one setting, by its variable's name; never its value."""
    assert isinstance(item, dict)  # noqa: S101 - pydantic's ErrorDetails is a dict
    if not item["loc"]:
        return str(item["ctx"]["error"]) + "."
    variable = str(item["loc"][0]).upper()
    if item["type"] == "missing":
        return f"{variable} is not set, and has no default."
    message = str(item["msg"]).removeprefix("Input ").removeprefix("String ")
    return f"{variable} {message}."
