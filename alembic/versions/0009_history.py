"""Name the database's history, and say whether a standby has a commit.

Creates a table of one row and three functions; nothing that is in use is locked.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

APP = "holdfast_app"

# Consistency tokens were given out here before they named a history: those go on to be good, for
# instances of the service of both versions, until the history ends.
FIRST = """
INSERT INTO database_history (id)
SELECT CASE WHEN EXISTS (SELECT FROM idempotency_keys) OR EXISTS (SELECT FROM audit_log)
            THEN '00000000-0000-0000-0000-000000000000' ELSE gen_random_uuid() END
"""
BEGIN = """
CREATE FUNCTION begin_history() RETURNS uuid
    LANGUAGE sql VOLATILE
AS $$
UPDATE database_history SET id = gen_random_uuid(), since = now() RETURNING id
$$
"""
# Of other sessions' walsenders only pg_read_all_stats sees how far they are. That is a right of
# this function's owner, not of the service. It never fails: without the right, nobody has anything.
REPLICATED = """
CREATE FUNCTION commit_is_replicated(wanted pg_lsn, patience interval) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    LOOP
        IF EXISTS (SELECT FROM pg_stat_replication
                    WHERE sync_state IN ('sync', 'quorum') AND flush_lsn >= wanted)
        THEN
            RETURN true;
        END IF;
        IF clock_timestamp() >= statement_timestamp() + patience THEN
            RETURN false;
        END IF;
        PERFORM pg_sleep(0.002);
    END LOOP;
END
$$
"""
# Said here, where whoever updates sees it. 42704: a primary of the new version is giving the right
# just now, so that alembic/env.py tries again for a while.
RIGHT = """
DO $$
BEGIN
    IF NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
        RAISE EXCEPTION 'the role % may not read the statistics of replication; '
                        'as a superuser: GRANT pg_read_all_stats TO %', current_user, current_user
              USING ERRCODE = '42704';
    END IF;
END
$$
"""


def upgrade() -> None:
    """Create them."""
    op.execute(RIGHT)
    op.create_table(
        "database_history",
        sa.Column("single", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column(
            "since", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.PrimaryKeyConstraint("single", name="database_history_pkey"),
        sa.CheckConstraint("single", name="database_history_single_check"),
    )
    op.execute(f"REVOKE INSERT, UPDATE, DELETE ON database_history FROM {APP}")
    op.execute(FIRST)
    op.execute(BEGIN)
    op.execute("REVOKE ALL ON FUNCTION begin_history() FROM PUBLIC")
    op.execute(REPLICATED)


def downgrade() -> None:
    """Drop them: instances of the service that ask for them refuse writes from then on."""
    op.execute("DROP FUNCTION commit_is_replicated(pg_lsn, interval)")
    op.execute("DROP FUNCTION begin_history()")
    op.drop_table("database_history")
