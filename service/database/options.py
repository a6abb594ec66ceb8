"""What the database has to be told; plain values, so that the heart needs no settings library.

All durations are in seconds.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from service.database.retry import RetryPolicy

SslMode = Literal["disable", "allow", "prefer", "require", "verify-full"]
Password: TypeAlias = str | Callable[[], str] | None
"""A function is asked at each login: a password that is rotated is another one then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """One endpoint and the pool in front of it."""

    host: str
    port: int
    pool_min: int = 2
    pool_max: int = 10
    user: str = ""  # empty: the login that DatabaseOptions has
    password: Password = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """Both endpoints, the login, and a bound for every wait."""

    write: EndpointOptions
    read: EndpointOptions
    name: str
    user: str
    password: Password = field(default=None, repr=False)
    sslmode: SslMode = "prefer"
    sslrootcert: str = ""  # the file of the CA that verify-full trusts; empty: those of the system
    application_name: str = "holdfast"
    connect_timeout: float = 1.0
    acquire_timeout: float = 3.0
    statement_timeout: float = 5.0
    tcp_timeout: float = 3.0
    connection_max_age: float = 60.0
    probe_interval: float = 1.0
    consistency_wait: float = 0.25  # for a reader that has not reached a token
    local_allowed: bool = False  # a key's `local` counts
    key_lifetime: float = 86400.0
    key_purge_interval: float = 60.0
    held_most: int = 2000  # units of work at a time
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def login(self, endpoint: EndpointOptions) -> tuple[str, Password]:
        """Return the user and password for one endpoint."""
        if endpoint.user:
            return endpoint.user, endpoint.password
        return self.user, self.password

    def tls(self) -> SslMode | ssl.SSLContext:
        """Return asyncpg's `ssl`. Raises OSError when there is no such CA file."""
        return tls(self.sslmode, self.sslrootcert)


def tls(mode: SslMode, root: str) -> SslMode | ssl.SSLContext:
    """Return asyncpg's `ssl` for a mode, with the CA in the file `root`; empty: the system's.

    The file is read each time: a CA that was replaced counts from the next session on.
    """
    if mode != "verify-full":
        return mode
    return ssl.create_default_context(cafile=root or None)
