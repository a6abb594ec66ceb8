"""What the database has to be told; plain values, so that the heart needs no settings library.

All durations are in seconds.
"""

from dataclasses import dataclass, field
from typing import Literal

from service.database.retry import RetryPolicy

SslMode = Literal["disable", "allow", "prefer", "require"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """One endpoint and the pool in front of it."""

    host: str
    port: int
    pool_min: int = 2
    pool_max: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """Both endpoints, the login, and a bound for every wait."""

    write: EndpointOptions
    read: EndpointOptions
    name: str
    user: str
    password: str | None = field(default=None, repr=False)
    sslmode: SslMode = "prefer"
    application_name: str = "holdfast"
    connect_timeout: float = 1.0
    acquire_timeout: float = 3.0
    statement_timeout: float = 5.0
    tcp_timeout: float = 3.0
    connection_max_age: float = 60.0
    probe_interval: float = 1.0
    consistency_wait: float = 0.25  # for a reader that has not reached a token
    key_lifetime: float = 86400.0
    key_purge_interval: float = 60.0
    held_most: int = 2000  # units of work at a time
    retry: RetryPolicy = field(default_factory=RetryPolicy)
