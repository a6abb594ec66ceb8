"""Give the read pool's role its rights: to read, on what is there and what later migrations make.

What only the service's writes need (keys) and what nobody but the owner may see (the audit) is left
out. Takes no lock on any table.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# holdfast_read is made by deploy/postgres/roles.sql, as roles outlive databases.


def upgrade() -> None:
    """Grant, now and by default."""
    op.execute("GRANT USAGE ON SCHEMA public TO holdfast_read")
    op.execute("GRANT SELECT ON users TO holdfast_read")
    op.execute("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO holdfast_read")


def downgrade() -> None:
    """Take it all back."""
    op.execute(
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM holdfast_read"
    )
    op.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM holdfast_read")
    op.execute("REVOKE USAGE ON SCHEMA public FROM holdfast_read")
