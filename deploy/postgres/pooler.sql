-- What PgBouncer asks as holdfast_pooler, to check who logs in: the SCRAM verifier of a role that clients have, and of no
-- other. In the database `postgres`, in a schema of the superuser's own: the owner of the application's database can
-- put nothing in its place. Idempotent; run as superuser on the writable node, where roles.sql has made the roles.
SET synchronous_commit = local;
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS pooler;
REVOKE ALL ON SCHEMA pooler FROM PUBLIC;
GRANT USAGE ON SCHEMA pooler TO holdfast_pooler;
CREATE OR REPLACE FUNCTION pooler.verifier_of(wanted text, OUT role text, OUT verifier text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT rolname::text, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END
      FROM pg_authid
     WHERE rolname = wanted AND rolcanlogin AND NOT rolsuper AND NOT rolreplication
       AND rolname IN ('holdfast_owner', 'holdfast_app', 'holdfast_read', 'holdfast_monitoring')
$$;
REVOKE ALL ON FUNCTION pooler.verifier_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pooler.verifier_of TO holdfast_pooler;
RESET client_min_messages;
