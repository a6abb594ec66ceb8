"""The table of idempotency keys, as migrations make it; imported by Alembic alone."""

from sqlalchemy import Column, DateTime, Index, LargeBinary, Table, Text

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
