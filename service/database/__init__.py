"""The reusable heart: two routes to PostgreSQL that hold through a failover.

It imports no web framework, and no library for metrics, logs or traces. How to use it in a service
of your own: docs/how-to-use-it.md.

| for                    | names                                                               |
|------------------------|---------------------------------------------------------------------|
| every user             | Database, DatabaseOptions, EndpointOptions, retry_on_failover,      |
|                        | is_transient, IdempotencyKey, PlainJson, ReadConnection,            |
|                        | WriteConnection, ConsistencyToken                                   |
| annotations            | Written, Codec, Row                                                 |
| other bounds           | RetryPolicy                                                         |
| metrics and logs       | Observer, Role, Route                                               |
| traces                 | Tracer                                                              |

`service.errors` holds what they raise.
"""

from service.database.codec import PlainJson
from service.database.connections import ReadConnection, WriteConnection
from service.database.consistency import ConsistencyToken
from service.database.failures import is_transient
from service.database.idempotency import Codec, IdempotencyKey, Written
from service.database.link import Row
from service.database.observer import Observer, Role, Route
from service.database.options import DatabaseOptions, EndpointOptions
from service.database.retry import RetryPolicy, retry_on_failover
from service.database.routing import Database
from service.database.tracing import Tracer

__all__ = [
    "Codec",
    "ConsistencyToken",
    "Database",
    "DatabaseOptions",
    "EndpointOptions",
    "IdempotencyKey",
    "Observer",
    "PlainJson",
    "ReadConnection",
    "RetryPolicy",
    "Role",
    "Route",
    "Row",
    "Tracer",
    "WriteConnection",
    "Written",
    "is_transient",
    "retry_on_failover",
]
