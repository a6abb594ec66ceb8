"""The nodes look after the audit's partitions, and `status` says what takes room."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

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
CURRENT = "SELECT partition FROM audit.partitions WHERE since <= now() AND until > now()"


@dataclass(frozen=True)
class Left:
    """Two users whose entries have no partition: their numbers."""

    before: int  # in the partition that is not one any more
    since: int  # in the one for what has none


def on_primary(sql: str) -> str:
    """Run SQL on the primary as its superuser."""
    command = ("psql", "--no-psqlrc", "-d", "holdfast", "-qAt", "-c", sql)
    return docker("exec", primary(), *command).strip()


@pytest.fixture(scope="module")
def left(running_stack: None) -> Left:  # noqa: ARG001 - ordering only
    """The audit as if nobody had looked after it: both are mended in one minute, not in two."""
    wait_until("the coming months", LOOKS, lambda: on_primary(COMING) == "t")
    on_primary(f"DROP TABLE {on_primary(LAST)}")
    assert on_primary(COMING) == "f"
    before = create_user("kept").json()["id"]
    current = on_primary(CURRENT)
    on_primary(f"ALTER TABLE audit_log DETACH PARTITION {current}")
    # As audit.keep does with what has no place.
    on_primary(f"ALTER TABLE {current} RENAME TO log_aside_1")
    return Left(before, create_user("late").json()["id"])


def test_the_primary_makes_coming_partitions(left: Left) -> None:  # noqa: ARG001 - a state
    """By itself: one that is missing is there again after a minute or two."""
    wait_until("the coming months again", LOOKS, lambda: on_primary(COMING) == "t")


def test_an_entry_without_a_partition_is_put_in_its_place(left: Left) -> None:
    """Nothing is lost when nobody made this month's partition in time, and no write fails."""
    unplaced = "SELECT count(*) FROM audit.log_default"

    def placed() -> bool:
        return on_primary(unplaced) == "0" and _entries(left.before) == "1"

    wait_until("every entry to be in its place", LOOKS, placed)
    assert _entries(left.since) == "1"


def _entries(user: int) -> str:
    """Return how many entries there are of a user's creation, wherever they are."""
    made = f"entity_id = {user} AND action = 'insert'"
    return on_primary(f"SELECT count(*) FROM audit_log WHERE {made}")  # noqa: S608 - a number


def test_status_says_what_takes_room() -> None:
    """Of the tables that grow, of WAL that waits for standbys, and of each node's volume."""
    now = snapshot.take()
    assert now.sizes is not None
    assert None not in (now.sizes.audit, now.sizes.users, now.sizes.keys)
    assert now.sizes.database > (now.sizes.audit or 0) + (now.sizes.users or 0) > 0
    assert now.sizes.wal >= 0
    assert all(node.used is not None and 0 <= node.used <= 100 for node in now.nodes)
