"""The reusable heart: two routes to PostgreSQL that hold through a failover.

It imports no web framework, no metrics and no logging library: what happens is told to an
`Observer`. A service of your own needs `Database`, `retry_on_failover` and the two connection
types; `service.errors` holds what they raise.
"""

from service.database.connections import ReadConnection, Row, WriteConnection
from service.database.consistency import ConsistencyToken
from service.database.idempotency import Codec, IdempotencyKey, Written
from service.database.observer import Observer, Role, Route
from service.database.options import DatabaseOptions, EndpointOptions
from service.database.retry import RetryPolicy, retry_on_failover
from service.database.routing import Database

__all__ = [
    "Codec",
    "ConsistencyToken",
    "Database",
    "DatabaseOptions",
    "EndpointOptions",
    "IdempotencyKey",
    "Observer",
    "ReadConnection",
    "RetryPolicy",
    "Role",
    "Route",
    "Row",
    "WriteConnection",
    "Written",
    "retry_on_failover",
]
