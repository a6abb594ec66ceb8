"""Keep in the audit that a table was emptied by TRUNCATE, which calls no row's trigger.

Such an entry is about all rows: its `entity_id` is 0, which no row has, and it names no fields.
Creating a trigger takes SHARE ROW EXCLUSIVE on `users` for a moment: writes wait, reads go on.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

AUDIT = """
CREATE OR REPLACE FUNCTION audit_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP IN ('UPDATE', 'DELETE') THEN to_jsonb(OLD) ELSE '{}' END;
    after  jsonb := CASE WHEN TG_OP IN ('INSERT', 'UPDATE') THEN to_jsonb(NEW) ELSE '{}' END;
BEGIN
    INSERT INTO public.audit_log (client, role, request_id, action, entity, entity_id, fields)
    VALUES (
        nullif(current_setting('holdfast.client', true), ''),
        session_user,
        nullif(current_setting('holdfast.request_id', true), ''),
        lower(TG_OP), TG_TABLE_NAME, coalesce(after ->> 'id', before ->> 'id', '0')::bigint,
        ARRAY(SELECT name FROM jsonb_object_keys(before || after) AS name
               WHERE before -> name IS DISTINCT FROM after -> name ORDER BY name)
    );
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER users_audit_truncate AFTER TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION audit_change()
"""


def upgrade() -> None:
    """Replace the function, and create the trigger."""
    op.execute(AUDIT)
    op.execute(TRIGGER)


def downgrade() -> None:
    """Drop the trigger. The function does for rows what its predecessor did."""
    op.execute("DROP TRIGGER users_audit_truncate ON users")
