"""Give the service's role its rights, on what is there and on what later migrations make.

The owner of the schema runs migrations; the service may read and change rows, and nothing else.
Takes no lock on any table.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APP = "holdfast_app"  # made by deploy/postgres/roles.sql, as roles outlive databases


def upgrade() -> None:
    """Grant, now and by default."""
    op.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    op.execute(f"GRANT USAGE ON SCHEMA public TO {APP}")
    op.execute(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public "
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {APP}"
    )
    op.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {APP}")


def downgrade() -> None:
    """Take back what was granted. CREATE for everybody does not come back: 17 has it so."""
    op.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM {APP}")
    op.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON TABLES FROM {APP}")
    op.execute(f"REVOKE USAGE ON SCHEMA public FROM {APP}")
