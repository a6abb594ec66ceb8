"""Keep who changed what and when, in the transaction of the change.

A trigger writes it, whoever makes the change and by whichever way. The table's owner alone may read
it and nobody has the right to change it: the trigger's function runs with its owner's rights.
Creating a trigger takes SHARE ROW EXCLUSIVE on `users` for a moment: writes wait, reads go on.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

APP = "holdfast_app"

# Names of columns, not what was in them: the log is to outlive what people have a right to have
# deleted, and no secret can get into it. The service names the client and the request for its
# transaction (service/database/link.py); nobody does in psql, where the role has to do.
AUDIT = """
CREATE FUNCTION audit_change() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
    after  jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
BEGIN
    INSERT INTO public.audit_log (client, role, request_id, action, entity, entity_id, fields)
    VALUES (
        nullif(current_setting('holdfast.client', true), ''),
        session_user,
        nullif(current_setting('holdfast.request_id', true), ''),
        lower(TG_OP), TG_TABLE_NAME, (coalesce(after ->> 'id', before ->> 'id'))::bigint,
        ARRAY(SELECT name FROM jsonb_object_keys(before || after) AS name
               WHERE before -> name IS DISTINCT FROM after -> name ORDER BY name)
    );
    RETURN NULL;
END
$$
"""
TRIGGER = """
CREATE TRIGGER users_audit AFTER INSERT OR UPDATE OR DELETE ON users
    FOR EACH ROW EXECUTE FUNCTION audit_change()
"""


def upgrade() -> None:
    """Create table, function and trigger."""
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("client", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("entity", sa.Text, nullable=False),
        sa.Column("entity_id", sa.BigInteger, nullable=False),
        sa.Column("fields", ARRAY(sa.Text), nullable=False),
    )
    op.create_index("audit_log_entity_idx", "audit_log", ["entity", "entity_id"])
    op.execute(f"REVOKE ALL ON audit_log FROM {APP}")
    op.execute(AUDIT)
    op.execute("REVOKE ALL ON FUNCTION audit_change() FROM PUBLIC")
    op.execute(TRIGGER)


def downgrade() -> None:
    """Drop all three: what they kept is gone."""
    op.execute("DROP TRIGGER users_audit ON users")
    op.execute("DROP FUNCTION audit_change()")
    op.drop_table("audit_log")
