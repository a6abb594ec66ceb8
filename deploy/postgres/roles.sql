-- Roles that exist before any migration. Idempotent; run as superuser on the writable node.
-- Passwords are set apart from this file, from secrets. Grants are the migrations' business.
--   holdfast_owner       owns the schema; only db-migrate logs in as this role. It reads statistics:
--                        a function of its own tells the service whether a standby has a commit
--   holdfast_app         the service's write pool
--   holdfast_read        its read pool: has no right to write, wherever the read port leads
--   holdfast_monitoring  reads statistics (pg_monitor), no data
--   holdfast_check       HAProxy's role-aware check: may connect to `postgres` and run SHOW
--   holdfast_pooler      PgBouncer's question who may log in (pooler.sql): no password, by the local socket alone
SELECT format('CREATE ROLE %I LOGIN', name)
  FROM unnest(ARRAY['holdfast_owner', 'holdfast_app', 'holdfast_read', 'holdfast_monitoring', 'holdfast_check', 'holdfast_pooler']) AS name
 WHERE name NOT IN (SELECT rolname FROM pg_roles)
\gexec
-- Only what is missing: a GRANT of what is there is a line in the log, at every start.
SELECT format('GRANT %I TO %I', wanted.role, wanted.member)
  FROM (VALUES ('pg_monitor', 'holdfast_monitoring'), ('pg_read_all_stats', 'holdfast_owner'),
               -- Who looks after the node finds a place when all others are taken.
               ('pg_use_reserved_connections', 'holdfast_check'),
               ('pg_use_reserved_connections', 'holdfast_monitoring'),
               ('pg_use_reserved_connections', 'pgautofailover_monitor'),
               ('pg_use_reserved_connections', 'pgautofailover_replicator'),
               ('pg_checkpoint', 'pgautofailover_replicator')) AS wanted (role, member)
  JOIN pg_roles AS member ON member.rolname = wanted.member
  JOIN pg_roles AS role ON role.rolname = wanted.role
 WHERE NOT EXISTS (SELECT FROM pg_auth_members AS there WHERE there.roleid = role.oid AND there.member = member.oid)
\gexec
-- No role can take all of the 350 (postgresql.holdfast.conf) from the others. Two instances of the
-- service at their defaults take 20 of each of the first two; HAProxy passes 80 of each port on.
ALTER ROLE holdfast_app CONNECTION LIMIT 80;
ALTER ROLE holdfast_read CONNECTION LIMIT 80;
ALTER ROLE holdfast_owner CONNECTION LIMIT 8;
ALTER ROLE holdfast_monitoring CONNECTION LIMIT 5;
ALTER ROLE holdfast_check CONNECTION LIMIT 20;
ALTER ROLE holdfast_pooler CONNECTION LIMIT 20;
-- No statement of theirs takes the disk (the default is no bound), and none that only looks takes long.
ALTER ROLE holdfast_app SET temp_file_limit = '256MB';
ALTER ROLE holdfast_read SET temp_file_limit = '256MB';
ALTER ROLE holdfast_monitoring SET temp_file_limit = '64MB';
ALTER ROLE holdfast_monitoring SET statement_timeout = '30s';
ALTER ROLE holdfast_monitoring SET transaction_timeout = '60s';
ALTER ROLE holdfast_check SET temp_file_limit = 0;
ALTER ROLE holdfast_check SET statement_timeout = '2s';
ALTER ROLE holdfast_check SET transaction_timeout = '2s';
ALTER ROLE holdfast_pooler SET temp_file_limit = 0;
ALTER ROLE holdfast_pooler SET statement_timeout = '2s';
ALTER ROLE holdfast_pooler SET transaction_timeout = '2s';
-- What the service says as it logs in. Through a pooler it cannot: a session there is not one client's.
ALTER ROLE holdfast_app SET statement_timeout = '5s';
ALTER ROLE holdfast_app SET idle_in_transaction_session_timeout = '5s';
ALTER ROLE holdfast_app SET client_connection_check_interval = '1s';
ALTER ROLE holdfast_read SET statement_timeout = '5s';
ALTER ROLE holdfast_read SET idle_in_transaction_session_timeout = '5s';
ALTER ROLE holdfast_read SET client_connection_check_interval = '1s';
-- Not for holdfast_app: `off` would write past the fence of a primary that is promoted and not yet released.
ALTER ROLE holdfast_read SET default_transaction_read_only = on;
