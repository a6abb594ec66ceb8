"""Attach what the audit had before 0010, as its first partition.

Nobody writes to that table any more, so it is scanned and indexed with nobody waiting. Writers wait
for a moment at the end.

Revision ID: 0011
Revises: 0010
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

COLUMNS = "id, at, client, role, request_id, action, entity, entity_id, fields"
# A transaction that began before 0010 and wrote after it has its entry in the default partition.
# An entry of a node whose clock was ahead is dated after the new table's beginning. With the CHECK
# ATTACH scans nothing.
ATTACH = f"""
DO $$
DECLARE
    beginning timestamptz := (SELECT min(since) FROM audit.partitions);
BEGIN
    IF to_regclass('audit.log_before') IS NULL THEN
        RETURN;  -- it was older than is kept, and a downgrade came after that
    END IF;
    WITH late AS (DELETE FROM audit.log_before WHERE at >= beginning RETURNING *)
    INSERT INTO public.audit_log ({COLUMNS}) OVERRIDING SYSTEM VALUE SELECT {COLUMNS} FROM late;
    ALTER TABLE audit.log_before DROP CONSTRAINT audit_log_pkey,
                                 ADD CONSTRAINT audit_log_pkey PRIMARY KEY (at, id);
    EXECUTE format('ALTER TABLE audit.log_before ADD CONSTRAINT bound CHECK (at < %L)', beginning);
    -- Writers wait here, and then find the partition: an entry that is on its way to the default
    -- one when ATTACH takes its place away from there is refused (23514).
    LOCK TABLE public.audit_log IN SHARE ROW EXCLUSIVE MODE;
    WITH early AS (DELETE FROM audit.log_default WHERE at < beginning RETURNING *)
    INSERT INTO audit.log_before ({COLUMNS}) SELECT {COLUMNS} FROM early;
    EXECUTE format('ALTER TABLE public.audit_log ATTACH PARTITION audit.log_before
                    FOR VALUES FROM (MINVALUE) TO (%L)', beginning);
    ALTER TABLE audit.log_before DROP CONSTRAINT bound;
END
$$
"""  # noqa: S608 - constants of this file
DETACH = """
DO $$
BEGIN
    IF to_regclass('audit.log_before') IS NOT NULL THEN
        ALTER TABLE public.audit_log DETACH PARTITION audit.log_before;
    END IF;
END
$$
"""


def upgrade() -> None:
    """Attach it."""
    op.execute(ATTACH)


def downgrade() -> None:
    """Put it beside the new table again."""
    op.execute(DETACH)
