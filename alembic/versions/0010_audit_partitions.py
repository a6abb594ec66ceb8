"""Partition the audit by month, so that what is old can go without a DELETE.

The table is replaced in one short transaction: writes wait for it, for milliseconds, whatever the
table's size, and both versions of the service go on, as only the trigger's function writes there.
What was there is beside it, in `audit.log_before`, until 0011 attaches it.

The partitions are in a schema that nobody but the owner may enter, outside of the default rights
that 0001 and 0007 give. docs/decisions/0040 has the reasons.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ROLES = "holdfast_app, holdfast_read"

# From here on nobody writes to it any more. DROP IDENTITY: a partition may have none of its own.
ASIDE = (
    "LOCK TABLE public.audit_log IN ACCESS EXCLUSIVE MODE",
    "CREATE SCHEMA audit",
    """SELECT set_config('holdfast.audit_next',
                         nextval(pg_get_serial_sequence('public.audit_log', 'id'))::text, true)""",
    "ALTER TABLE public.audit_log ALTER COLUMN id DROP IDENTITY",
    "ALTER TABLE public.audit_log RENAME TO log_before",
    "ALTER TABLE public.log_before SET SCHEMA audit",
)
# `since` is null for a partition from the beginning of time, both are for the default one.
PARTITIONS = """
CREATE VIEW audit.partitions AS
SELECT part.oid::regclass AS partition,
       substring(bound FROM $$FROM \\('([^']+)'\\)$$)::timestamptz AS since,
       substring(bound FROM $$TO \\('([^']+)'\\)$$)::timestamptz AS until
  FROM pg_inherits
  JOIN pg_class AS part ON part.oid = inhrelid
 CROSS JOIN LATERAL pg_get_expr(part.relpartbound, part.oid) AS bound
 WHERE inhparent = 'public.audit_log'::regclass
"""
# Of the month of `moment` what no partition has yet. Not PARTITION OF: that locks out writers;
# ATTACH locks out those alone who write to the default partition, which it looks through.
COVER = """
CREATE FUNCTION audit.cover(moment timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    month timestamptz := date_trunc('month', moment);
    lower timestamptz := (SELECT max(until) FROM audit.partitions
                           WHERE until > month AND until <= moment);
    upper timestamptz := (SELECT min(since) FROM audit.partitions
                           WHERE since > moment AND since < month + interval '1 month');
    name text := 'log_' || to_char(coalesce(lower, month),
        CASE WHEN lower IS NULL THEN 'YYYY_MM' ELSE 'YYYY_MM_DD_HH24MISS' END);
BEGIN
    EXECUTE format('CREATE TABLE audit.%I (LIKE public.audit_log)', name);
    EXECUTE format(
        'ALTER TABLE public.audit_log ATTACH PARTITION audit.%I FOR VALUES FROM (%L) TO (%L)',
        name, coalesce(lower, month), coalesce(upper, month + interval '1 month'));
END
$$
"""
COVERED = """
CREATE FUNCTION audit.covered(moment timestamptz) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
SELECT EXISTS (SELECT FROM audit.partitions
                WHERE (since IS NULL OR since <= moment) AND until > moment)
$$
"""
# One thing at each call, so that no lock outlives it; returns what was done, nothing when all is.
# Who calls it has COMMIT wait for no standby, as the locks last until then.
KEEP = """
CREATE FUNCTION audit.keep(days integer) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC' SET lock_timeout = '200ms'
AS $$
DECLARE
    coming timestamptz[] := ARRAY(SELECT date_trunc('month', now()) + n * interval '1 month'
                                    FROM generate_series(0, 2) AS n);
    aside text;
    moment timestamptz;
    expired text;
BEGIN
    IF days IS NULL OR days < 0 THEN
        RAISE EXCEPTION 'audit.keep(days): a number of days, or 0 for ever; not %', days;
    END IF;
    IF EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('audit.log_before')
                                      AND NOT relispartition)
    THEN
        RETURN '';  -- between migrations 0010 and 0011
    END IF;
    coming[1] := now();
    LOCK TABLE ONLY public.audit_log IN SHARE UPDATE EXCLUSIVE MODE;  -- one caller at a time

    -- What no partition was there for is put where nobody writes.
    IF EXISTS (SELECT FROM audit.log_default) THEN
        aside := 'log_aside_' || to_char(clock_timestamp(), 'YYYY_MM_DD_HH24MISS_US');
        ALTER TABLE public.audit_log DETACH PARTITION audit.log_default;
        EXECUTE format('ALTER TABLE audit.log_default RENAME TO %I', aside);
        CREATE TABLE audit.log_default PARTITION OF public.audit_log DEFAULT;
        FOREACH moment IN ARRAY coming LOOP
            IF NOT audit.covered(moment) THEN PERFORM audit.cover(moment); END IF;
        END LOOP;
        RETURN 'set aside what had no partition';
    END IF;

    FOREACH moment IN ARRAY coming LOOP
        IF NOT audit.covered(moment) THEN
            PERFORM audit.cover(moment);
            RETURN 'made the partition of ' || to_char(moment, 'YYYY-MM');
        END IF;
    END LOOP;

    aside := (SELECT min(relname) FROM pg_class
               WHERE relnamespace = 'audit'::regnamespace AND relname ~ '^log_aside_[0-9_]+$');
    IF aside IS NOT NULL THEN
        EXECUTE format(
            'WITH known AS MATERIALIZED (SELECT since, until FROM audit.partitions)
             SELECT min(at) FROM audit.%I
              WHERE NOT EXISTS (SELECT FROM known
                                 WHERE (since IS NULL OR since <= at) AND until > at)', aside)
           INTO moment;
        IF moment IS NOT NULL THEN
            PERFORM audit.cover(moment);
            RETURN 'made the partition of ' || to_char(moment, 'YYYY-MM');
        END IF;
        EXECUTE format('INSERT INTO public.audit_log OVERRIDING SYSTEM VALUE
                        SELECT * FROM audit.%I', aside);
        EXECUTE format('DROP TABLE audit.%I', aside);
        RETURN 'put back what had been set aside';
    END IF;

    expired := (SELECT partition::text FROM audit.partitions
                 WHERE days > 0 AND until <= now() - days * interval '1 day'
                 ORDER BY until LIMIT 1);
    IF expired IS NOT NULL THEN
        EXECUTE format('DROP TABLE %s', expired);
        RETURN format('removed %s, older than %s days', expired, days);
    END IF;
    RETURN '';
END
$$
"""
NUMBERS = """
SELECT setval(pg_get_serial_sequence('public.audit_log', 'id'),
              current_setting('holdfast.audit_next')::bigint, false)
"""
DEFAULT = "CREATE TABLE audit.log_default PARTITION OF public.audit_log DEFAULT"
# It begins now: what is committed already is before, but for clocks (0011).
FIRST = """
DO $$
DECLARE
    beginning timestamptz := clock_timestamp();
    month timestamp := date_trunc('month', beginning AT TIME ZONE 'UTC');
BEGIN
    EXECUTE format(
        'CREATE TABLE audit.%I PARTITION OF public.audit_log FOR VALUES FROM (%L) TO (%L)',
        'log_' || to_char(beginning AT TIME ZONE 'UTC', 'YYYY_MM_DD_HH24MISS'),
        beginning, (month + interval '1 month') AT TIME ZONE 'UTC');
END
$$
"""
COLUMNS = "id, at, client, role, request_id, action, entity, entity_id, fields"
# What was kept goes back into one table; writes wait meanwhile.
ALL = f"""
INSERT INTO public.audit_log_plain ({COLUMNS}) OVERRIDING SYSTEM VALUE
SELECT {COLUMNS} FROM public.audit_log
"""  # noqa: S608 - a constant of this file
BEFORE = f"""
DO $$
BEGIN
    IF to_regclass('audit.log_before') IS NOT NULL THEN
        INSERT INTO public.audit_log_plain ({COLUMNS}) OVERRIDING SYSTEM VALUE
        SELECT {COLUMNS} FROM audit.log_before;
    END IF;
END
$$
"""  # noqa: S608
BACK = (
    "LOCK TABLE public.audit_log IN ACCESS EXCLUSIVE MODE",
    ALL,
    BEFORE,
    """SELECT setval(pg_get_serial_sequence('public.audit_log_plain', 'id'),
                     nextval(pg_get_serial_sequence('public.audit_log', 'id')), false)""",
    "DROP SCHEMA audit CASCADE",
    "DROP TABLE public.audit_log",
    "ALTER TABLE public.audit_log_plain RENAME TO audit_log",
    "ALTER INDEX public.audit_log_plain_pkey RENAME TO audit_log_pkey",
    "ALTER SEQUENCE public.audit_log_plain_id_seq RENAME TO audit_log_id_seq",
)


def upgrade() -> None:
    """Put the old table aside, and a partitioned one in its place."""
    for statement in ASIDE:
        op.execute(statement)
    create("audit_log", "at", "id", postgresql_partition_by="RANGE (at)")
    op.execute(f"REVOKE ALL ON audit_log FROM {ROLES}")
    op.execute(f"REVOKE ALL ON SEQUENCE audit_log_id_seq FROM {ROLES}")
    op.create_index("audit_log_entity_idx", "audit_log", ["entity", "entity_id"])
    for statement in (NUMBERS, DEFAULT, FIRST, PARTITIONS, COVERED, COVER, KEEP):
        op.execute(statement)
    op.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA audit FROM PUBLIC")


def downgrade() -> None:
    """Make one table of all of them again."""
    create("audit_log_plain", "id")
    op.execute(f"REVOKE ALL ON audit_log_plain FROM {ROLES}")
    op.execute(f"REVOKE ALL ON SEQUENCE audit_log_plain_id_seq FROM {ROLES}")
    for statement in BACK:
        op.execute(statement)
    op.create_index("audit_log_entity_idx", "audit_log", ["entity", "entity_id"])


def create(name: str, *key: str, **options: str) -> None:
    """Create an empty table for the audit."""
    op.create_table(
        name,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("client", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("entity", sa.Text, nullable=False),
        sa.Column("entity_id", sa.BigInteger, nullable=False),
        sa.Column("fields", ARRAY(sa.Text), nullable=False),
        sa.PrimaryKeyConstraint(*key, name=f"{name}_pkey"),
        **options,
    )
