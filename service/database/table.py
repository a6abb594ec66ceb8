"""The tables of this package, as migrations make them; imported by Alembic alone."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    Table,
    Text,
    Uuid,
    func,
    true,
)

from service.metadata import metadata

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("result", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
)
Index("idempotency_keys_expires_at_idx", idempotency_keys.c.expires_at)

database_history = Table(
    "database_history",
    metadata,
    Column("single", Boolean, primary_key=True, server_default=true()),  # there is one row
    Column("id", Uuid, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("single", name="single"),
)
