"""Make the table of idempotency keys, and the function that claims one.

Nobody can be using either yet, so no lock matters.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The lock first, then the look: what the lock's last holder committed is seen, as each query of a
# VOLATILE function has a snapshot of its own. The lock ends with the transaction, so it outlives a
# client that vanished for as long as the server still works on its COMMIT.
CLAIM = """
CREATE FUNCTION idempotency_claim(wanted bytea) RETURNS void
    LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    IF NOT pg_try_advisory_xact_lock(('x' || encode(substr(wanted, 1, 8), 'hex'))::bit(64)::bigint)
    THEN
        RAISE EXCEPTION 'the idempotency key is in flight' USING ERRCODE = 'HF001';
    END IF;
    IF EXISTS (SELECT FROM idempotency_keys WHERE digest = wanted AND expires_at > now())
    THEN
        RAISE EXCEPTION 'the idempotency key is known' USING ERRCODE = 'HF002';
    END IF;
END
$$
"""


def upgrade() -> None:
    """Create both, and an index for those who remove what has expired."""
    op.create_table(
        "idempotency_keys",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="idempotency_keys_pkey"),
    )
    op.create_index("idempotency_keys_expires_at_idx", "idempotency_keys", ["expires_at"])
    op.execute(CLAIM)


def downgrade() -> None:
    """Drop both: every key is forgotten, so repeated requests would be applied again."""
    op.execute("DROP FUNCTION idempotency_claim(bytea)")
    op.drop_table("idempotency_keys")
