-- What who watches the stack may read, as holdfast_monitoring. Idempotent; run as superuser, at the monitor and on the writable
-- node, where roles.sql has made the role.
SELECT 'CREATE ROLE holdfast_monitoring LOGIN CONNECTION LIMIT 5'
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'holdfast_monitoring')
\gexec
-- At the monitor: the nodes, and what it has decided.
SELECT 'GRANT USAGE ON SCHEMA pgautofailover TO holdfast_monitoring',
       'GRANT SELECT ON pgautofailover.node, pgautofailover.event TO holdfast_monitoring'
 WHERE to_regclass('pgautofailover.node') IS NOT NULL
\gexec

-- What a server knows of the machine it is on, for those who watch it (deploy/monitoring): its volume's bytes and when its
-- certificate ends (Unix time), as its container writes them down (common.sh). Null is what nobody has written yet.
SET synchronous_commit = local;
CREATE OR REPLACE FUNCTION public.node_facts(OUT volume_size bigint, OUT volume_free bigint, OUT certificate_ends bigint)
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
AS $$
    SELECT split_part(pg_read_file('/tmp/volume', true), ' ', 1)::bigint,
           split_part(pg_read_file('/tmp/volume', true), ' ', 2)::bigint,
           trim(pg_read_file('/tmp/certificate-ends', true), E'\n')::bigint
$$;
REVOKE ALL ON FUNCTION public.node_facts FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.node_facts TO holdfast_monitoring;

-- Seconds for which idempotency keys have been kept beyond their time, at the most; 0: none is, or there is no table yet.
CREATE OR REPLACE FUNCTION public.expired_keys_age() RETURNS double precision
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog
AS $$
BEGIN
    IF to_regclass('public.idempotency_keys') IS NULL THEN RETURN 0; END IF;
    RETURN (SELECT greatest(0, extract(epoch FROM clock_timestamp() - min(expires_at))) FROM public.idempotency_keys);
END
$$;
REVOKE ALL ON FUNCTION public.expired_keys_age FROM PUBLIC;
GRANT EXECUTE ON FUNCTION public.expired_keys_age TO holdfast_monitoring;
