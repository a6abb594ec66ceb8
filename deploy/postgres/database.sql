-- What PostgreSQL lets every role do in a database, and no role of the stack needs: it could fill the
-- disk, write to what is replicated, or hold a lock that others wait for. Idempotent; run as superuser
-- on the writable node, in each database. The test walks all that is left (tests/stack/test_roles.py).
SET synchronous_commit = local;
SELECT format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database())
\gexec
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
-- Large objects, messages to logical replication, advisory locks.
SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', oid::regprocedure) FROM pg_proc
 WHERE pronamespace = 'pg_catalog'::regnamespace
   AND proname ~ '^(lo_|lowrite$|loread$|pg_logical_emit_message$|pg_(try_)?advisory_(xact_)?lock)'
\gexec
-- The service tells keys in flight by locks with one number (migration 0004); migrations take one
-- with two, which the service cannot take from them.
GRANT EXECUTE ON FUNCTION pg_try_advisory_xact_lock(bigint) TO holdfast_app;
GRANT EXECUTE ON FUNCTION pg_advisory_lock(int, int), pg_try_advisory_xact_lock(bigint)
    TO holdfast_owner;
-- Its functions `position_after_commit` (migration 0014) and, for older instances, `settings_written_at` (0013) look how
-- old postgresql.auto.conf is, and at nothing else.
GRANT EXECUTE ON FUNCTION pg_stat_file(text, boolean) TO holdfast_owner;
