"""Let the position after a COMMIT be a row of a statement of its own.

Creates one function; nothing that is in use is locked. `commit_position` and `settings_written_at`
stay for instances of the version before.

Revision ID: 0014
Revises: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# As `commit_position` (0013), but for two things. What that tells as a notice is a result: a notice
# is a packet of its own, which HAProxy and the service take up by themselves. And it is its owner's
# right to read when settings were written, and so no other function's: calling one was a quarter of
# its time.
POSITION = """
CREATE FUNCTION position_after_commit(believed interval, patience interval) RETURNS text
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    here pg_lsn := pg_current_wal_flush_lsn();
    loaded timestamptz := pg_conf_load_time();
    written timestamptz;
    alone boolean := true;
    history uuid;
BEGIN
    IF current_setting('synchronous_standby_names') <> ''
        AND current_setting('synchronous_commit') NOT IN ('local', 'off')
    THEN
        IF has_function_privilege('pg_stat_file(text, boolean)'::regprocedure, 'EXECUTE') THEN
            written := (pg_stat_file('postgresql.auto.conf', true)).modification;
        END IF;
        IF current_setting('holdfast.believed', true) = loaded || ' ' || written THEN
            alone := false;
        ELSE
            alone := NOT public.commit_is_replicated(here, patience);
            IF written <= loaded AND now() > loaded + interval '2 seconds'
                AND (now() > loaded + believed OR EXISTS (
                    SELECT FROM pg_stat_get_activity(NULL)
                     WHERE wait_event = 'SyncRep' AND query_start > loaded))
            THEN
                PERFORM set_config('holdfast.believed', loaded || ' ' || written, false);
            END IF;
        END IF;
    END IF;
    SELECT id INTO history FROM public.database_history;
    RETURN concat_ws(' ', pg_walfile_name(here), (here - '0/0'::pg_lsn)::bigint, alone, history);
END
$$
"""


def upgrade() -> None:
    """Create it."""
    op.execute(POSITION)


def downgrade() -> None:
    """Drop it: instances of the service that ask for it refuse writes from then on."""
    op.execute("DROP FUNCTION position_after_commit(interval, interval)")
