"""Number the versions of a user: 1 at first, one more with every change.

The default is a constant, so no row is written: a short ACCESS EXCLUSIVE lock, however large the
table. An instance from before this changes users and leaves their version as it is: `If-Match`
is to be relied on once none of those runs any more.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; whoever is there already has version 1."""
    op.add_column(
        "users", sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1"))
    )


def downgrade() -> None:
    """Drop the column: all entity tags that clients hold lose their meaning."""
    op.drop_column("users", "version")
