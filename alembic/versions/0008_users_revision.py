"""Name each version of a user by something that no other history repeats: docs/decisions/0028.

The column comes without a default, then gets one: no row is written, and ACCESS EXCLUSIVE is held
for a moment, however large the table. With the default in one step PostgreSQL would write the whole
table anew, as `gen_random_uuid()` is different for each row.

Whoever is there keeps NULL, and its entity tag, until the next change. That is safe: nothing gets
NULL any more, so what is lost and made anew after this never has the tag of one of those.

An instance from before this leaves the revision as it is, and changes the version: its changes
change the tag, too.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, then its default."""
    op.add_column("users", sa.Column("revision", sa.Uuid))
    op.alter_column("users", "revision", server_default=sa.func.gen_random_uuid())


def downgrade() -> None:
    """Drop the column: all entity tags that clients hold lose their meaning."""
    op.drop_column("users", "revision")
