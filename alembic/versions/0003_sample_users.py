"""Add five sample users, so that the first GET shows something.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SAMPLES = (
    ("ada@example.com", "Ada Lovelace"),
    ("alan@example.com", "Alan Turing"),
    ("barbara@example.com", "Barbara Liskov"),
    ("edsger@example.com", "Edsger Dijkstra"),
    ("grace@example.com", "Grace Hopper"),
)


def upgrade() -> None:
    """Insert them; an address that is taken already stays whose it is."""
    insert = sa.text(
        "INSERT INTO users (email, name) VALUES (:email, :name) ON CONFLICT DO NOTHING"
    )
    for email, name in SAMPLES:
        op.execute(insert.bindparams(email=email, name=name))


def downgrade() -> None:
    """Delete them, unless somebody has renamed them since."""
    delete = sa.text("DELETE FROM users WHERE lower(email) = :email AND name = :name")
    for email, name in SAMPLES:
        op.execute(delete.bindparams(email=email, name=name))
