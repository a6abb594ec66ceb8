-- What who watches the stack may read, as holdfast_monitoring, in a schema of the superuser's own: neither the database's
-- owner nor anybody else can put something in its place. Idempotent; run as superuser, at the monitor and on the writable
-- node, where roles.sql has made the role.
SET synchronous_commit = local;
SELECT 'CREATE ROLE holdfast_monitoring LOGIN CONNECTION LIMIT 5'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'holdfast_monitoring')
\gexec
ALTER ROLE holdfast_monitoring SET statement_timeout = '30s';
ALTER ROLE holdfast_monitoring SET transaction_timeout = '60s';
ALTER ROLE holdfast_monitoring SET temp_file_limit = '64MB';
BEGIN;
DROP SCHEMA IF EXISTS watched CASCADE;
CREATE SCHEMA watched;
GRANT USAGE ON SCHEMA watched TO holdfast_monitoring;

-- What a server knows of the machine it is on: its volume's bytes and when its certificate ends (Unix time), as its
-- container writes them down (common.sh). Null is what nobody has written yet.
CREATE FUNCTION watched.node(OUT volume_size bigint, OUT volume_free bigint, OUT certificate_ends bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
    SELECT split_part(pg_read_file('/tmp/volume', true), ' ', 1)::bigint,
           split_part(pg_read_file('/tmp/volume', true), ' ', 2)::bigint,
           trim(pg_read_file('/tmp/certificate-ends', true), E' \n')::bigint
$$;
REVOKE ALL ON FUNCTION watched.node FROM PUBLIC;
GRANT EXECUTE ON FUNCTION watched.node TO holdfast_monitoring;

-- At the monitor: the nodes, and what it has decided. Not by USAGE on its schema, whose functions everybody may
-- execute: they begin failovers and remove nodes.
SELECT $$CREATE VIEW watched.nodes AS
           SELECT nodename, health, reportedpgisrunning, reporttime, reportedtli,
                  reportedstate::text AS reported, goalstate::text AS assigned FROM pgautofailover.node$$,
       $$CREATE VIEW watched.events AS
           SELECT goalstate::text AS assigned, description FROM pgautofailover.event$$,
       'GRANT SELECT ON watched.nodes, watched.events TO holdfast_monitoring'
 WHERE to_regclass('pgautofailover.node') IS NOT NULL
\gexec
COMMIT;
