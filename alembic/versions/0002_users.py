"""Make the users table. Nobody can be using it yet, so no lock matters.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, and the index that keeps addresses unique without regard to case."""
    op.create_table(
        "users",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.PrimaryKeyConstraint("id", name="users_pkey"),
        sa.CheckConstraint(
            "char_length(email) BETWEEN 3 AND 254", name=op.f("users_email_length_check")
        ),
        sa.CheckConstraint(
            "char_length(name) BETWEEN 1 AND 200", name=op.f("users_name_length_check")
        ),
    )
    op.create_index("users_email_key", "users", [sa.text("lower(email)")], unique=True)


def downgrade() -> None:
    """Drop the table, and everybody in it."""
    op.drop_table("users")
