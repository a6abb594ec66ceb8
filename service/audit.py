"""The table of who changed what, as migrations make it; alembic/versions/0006 has its trigger.

Its partitions, one a month, are in the schema `audit` (0010), which nobody but the owner enters.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.metadata import metadata

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("client", Text),  # the name of the token's holder
    Column("role", Text, nullable=False),
    Column("request_id", Text),
    Column("action", Text, nullable=False),  # insert, update, delete, truncate
    Column("entity", Text, nullable=False),
    Column("entity_id", BigInteger, nullable=False),  # 0: all of them
    Column("fields", ARRAY(Text), nullable=False),  # the names of those that are different
    PrimaryKeyConstraint("at", "id"),
    postgresql_partition_by="RANGE (at)",
)
Index("audit_log_entity_idx", audit_log.c.entity, audit_log.c.entity_id)
