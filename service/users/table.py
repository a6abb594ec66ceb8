"""The users table, as migrations make it."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from service.metadata import metadata

EMAIL_INDEX = "users_email_key"
EMAIL_LENGTH = 254  # RFC 5321: a path of 256 with its angle brackets
NAME_LENGTH = 200

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    # Null: neither made nor changed since migration 0008.
    Column("revision", Uuid, server_default=func.gen_random_uuid()),
    CheckConstraint(f"char_length(email) BETWEEN 3 AND {EMAIL_LENGTH}", name="email_length"),
    CheckConstraint(f"char_length(name) BETWEEN 1 AND {NAME_LENGTH}", name="name_length"),
)
# Addresses are compared without case.
Index(EMAIL_INDEX, text("lower(email)"), unique=True, _table=users)
