-- Roles that exist before any migration. Idempotent; run as superuser on the writable node.
-- Passwords are set apart from this file, from secrets. Grants are the migrations' business.
DO $$
BEGIN
    -- Owns the schema; only db-migrate logs in as this role.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'holdfast_owner') THEN
        CREATE ROLE holdfast_owner LOGIN;
    END IF;
    -- The service.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'holdfast_app') THEN
        CREATE ROLE holdfast_app LOGIN;
    END IF;
    -- HAProxy's role-aware check: may connect to `postgres` and run SHOW, nothing else.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'holdfast_check') THEN
        CREATE ROLE holdfast_check LOGIN CONNECTION LIMIT 64;
    END IF;
END
$$;
