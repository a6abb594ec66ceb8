-- Roles that exist before any migration. Idempotent; run as superuser on the writable node.
-- Passwords are set apart from this file, from secrets. Grants are the migrations' business.
--   holdfast_owner       owns the schema; only db-migrate logs in as this role. It reads statistics:
--                        a function of its own tells the service whether a standby has a commit
--   holdfast_app         the service's write pool
--   holdfast_read        its read pool: has no right to write, wherever the read port leads
--   holdfast_monitoring  reads statistics (pg_monitor), no data
--   holdfast_check       HAProxy's role-aware check: may connect to `postgres` and run SHOW
SELECT format('CREATE ROLE %I LOGIN', name)
  FROM unnest(ARRAY['holdfast_owner', 'holdfast_app', 'holdfast_read', 'holdfast_monitoring', 'holdfast_check']) AS name
 WHERE name NOT IN (SELECT rolname FROM pg_roles)
\gexec
GRANT pg_monitor TO holdfast_monitoring;
GRANT pg_read_all_stats TO holdfast_owner;
-- No role can take all of the 200 (postgresql.holdfast.conf) from the others: 173 in all. Two
-- instances of the service at their defaults take 20 of each of the first two.
ALTER ROLE holdfast_app CONNECTION LIMIT 80;
ALTER ROLE holdfast_read CONNECTION LIMIT 60;
ALTER ROLE holdfast_owner CONNECTION LIMIT 8;
ALTER ROLE holdfast_monitoring CONNECTION LIMIT 5;
ALTER ROLE holdfast_check CONNECTION LIMIT 20;
