"""The nodes look after the audit's partitions, and `status` says what takes room."""

from __future__ import annotations

from ops import snapshot
from tests.stack.support import create_user, docker, primary, wait_until

LOOKS = 150.0
"""Seconds within which the primary looks after the audit twice: once a minute, by itself."""

LAST = """
    SELECT partition FROM audit.partitions WHERE until IS NOT NULL ORDER BY until DESC LIMIT 1
"""
COMING = (
    "SELECT bool_and(audit.covered(now() + n * interval '1 month')) FROM generate_series(0, 2) n"
)


def on_primary(sql: str) -> str:
    """Run SQL on the primary as its superuser."""
    command = ("psql", "--no-psqlrc", "-d", "holdfast", "-qAt", "-c", sql)
    return docker("exec", primary(), *command).strip()


def test_the_primary_makes_coming_partitions() -> None:
    """By itself: one that is missing is there again after a minute or two."""
    wait_until("the coming months", LOOKS, lambda: on_primary(COMING) == "t")
    on_primary(f"DROP TABLE {on_primary(LAST)}")
    assert on_primary(COMING) == "f"
    wait_until("the coming months again", LOOKS, lambda: on_primary(COMING) == "t")


def test_an_entry_without_a_partition_is_put_in_its_place() -> None:
    """Nothing is lost when nobody made this month's partition in time, and no write fails."""
    ours = create_user("kept").json()["id"]
    entry = f"SELECT count(*) FROM audit_log WHERE entity_id = {ours} AND action = 'insert'"  # noqa: S608 - a number
    current = on_primary(
        "SELECT partition FROM audit.partitions WHERE since <= now() AND until > now()"
    )
    on_primary(f"ALTER TABLE audit_log DETACH PARTITION {current}")
    on_primary(
        f"ALTER TABLE {current} RENAME TO log_aside_1"  # as audit.keep does with what has no place
    )
    late = create_user("late").json()["id"]
    unplaced = "SELECT count(*) FROM audit.log_default"

    def placed() -> bool:
        return on_primary(unplaced) == "0" and on_primary(entry) == "1"

    wait_until("every entry to be in its place", LOOKS, placed)
    assert on_primary(entry.replace(str(ours), str(late))) == "1"


def test_status_says_what_takes_room() -> None:
    """Of the tables that grow, of WAL that waits for standbys, and of each node's volume."""
    now = snapshot.take()
    assert now.sizes is not None
    assert None not in (now.sizes.audit, now.sizes.users, now.sizes.keys)
    assert now.sizes.database > (now.sizes.audit or 0) + (now.sizes.users or 0) > 0
    assert now.sizes.wal >= 0
    assert all(node.used is not None and 0 <= node.used <= 100 for node in now.nodes)
