"""Let what a key stores, COMMIT, and the position after it be one message.

Creates four functions, and replaces one; nothing that is in use is locked.

Revision ID: 0013
Revises: 0012
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# As the one of 0004, which instances of the version before go on to call. In the same call it notes
# for the audit's trigger where the write comes from.
CLAIM = """
CREATE FUNCTION idempotency_claim(wanted bytea, client text, request_id text) RETURNS void
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
    PERFORM set_config('holdfast.client', client, true),
            set_config('holdfast.request_id', request_id, true);
END
$$
"""
# Not stored is an error, so that a COMMIT in the same message is not reached. That one's wait for a
# standby must be no question of a statement's timeout: what comes next has none.
RECORD = """
CREATE FUNCTION idempotency_record(
    wanted bytea, used_for bytea, answer text, lifetime double precision
) RETURNS void
    LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    INSERT INTO idempotency_keys AS known (digest, fingerprint, result, expires_at)
    VALUES (wanted, used_for, answer, now() + make_interval(secs => lifetime))
    ON CONFLICT (digest) DO UPDATE
       SET fingerprint = excluded.fingerprint, result = excluded.result,
           expires_at = excluded.expires_at
     WHERE known.expires_at <= now();
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another request stored this key' USING ERRCODE = 'HF003';
    END IF;
    PERFORM set_config('statement_timeout', '0', true);
END
$$
"""
# A session reads a new configuration between two messages, so in this one it may be older than what
# has ended the wait of its COMMIT; ALTER SYSTEM, which switches waiting off, has written by then.
# Reading that time is a right of the owner's that a superuser gives; without it, nobody knows.
WRITTEN = """
CREATE FUNCTION settings_written_at() RETURNS timestamptz
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF has_function_privilege('pg_stat_file(text, boolean)'::regprocedure, 'EXECUTE') THEN
        RETURN (pg_stat_file('postgresql.auto.conf', true)).modification;
    END IF;
    RETURN NULL;
END
$$
"""
# That commits wait is believed `believed` after the configuration was loaded, or when somebody is
# seen to wait who began after that. Till then a standby must have this one. What is believed is
# kept in mind by the session, with the file's age, of which it is told whole seconds: so after two.
# Told as INFO, which every client gets whatever its settings: of several statements in one message
# a driver returns no rows.
POSITION = """
CREATE FUNCTION commit_position(believed interval, patience interval) RETURNS void
    LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    here pg_lsn := pg_current_wal_flush_lsn();
    loaded timestamptz := pg_conf_load_time();
    written timestamptz := settings_written_at();
    alone boolean := true;
BEGIN
    IF current_setting('synchronous_standby_names') <> ''
        AND current_setting('synchronous_commit') NOT IN ('local', 'off')
    THEN
        IF current_setting('holdfast.believed', true) = loaded || ' ' || written THEN
            alone := false;
        ELSE
            alone := NOT commit_is_replicated(here, patience);
            IF written <= loaded AND now() > loaded + interval '2 seconds'
                AND (now() > loaded + believed OR EXISTS (
                    SELECT FROM pg_stat_get_activity(NULL)
                     WHERE wait_event = 'SyncRep' AND query_start > loaded))
            THEN
                PERFORM set_config('holdfast.believed', loaded || ' ' || written, false);
            END IF;
        END IF;
    END IF;
    RAISE INFO 'commit position' USING DETAIL = concat_ws(' ', pg_walfile_name(here),
        (here - '0/0'::pg_lsn)::bigint, alone, (SELECT id FROM database_history));
END
$$
"""
# The patience counts from the question: in one message with COMMIT its statement began before that.
REPLICATED = """
CREATE OR REPLACE FUNCTION commit_is_replicated(wanted pg_lsn, patience interval) RETURNS boolean
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    give_up timestamptz := clock_timestamp() + patience;
BEGIN
    LOOP
        IF EXISTS (SELECT FROM pg_stat_replication
                    WHERE sync_state IN ('sync', 'quorum') AND flush_lsn >= wanted)
        THEN
            RETURN true;
        END IF;
        IF clock_timestamp() >= give_up THEN
            RETURN false;
        END IF;
        PERFORM pg_sleep(0.002);
    END LOOP;
END
$$
"""


def upgrade() -> None:
    """Create them."""
    op.execute(REPLICATED)
    op.execute(CLAIM)
    op.execute(RECORD)
    op.execute(WRITTEN)
    op.execute(POSITION)


def downgrade() -> None:
    """Drop them: instances of the service that ask for them refuse writes from then on."""
    op.execute("DROP FUNCTION commit_position(interval, interval)")
    op.execute("DROP FUNCTION settings_written_at()")
    op.execute("DROP FUNCTION idempotency_claim(bytea, text, text)")
    op.execute("DROP FUNCTION idempotency_record(bytea, bytea, text, double precision)")
