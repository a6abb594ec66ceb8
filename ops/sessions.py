"""Ends the sessions that a role has opened before a moment, as gently as PostgreSQL can.

Whoever knew an old password could keep what was opened with it for as long as it likes. Idle
sessions end at once, and no statement with them; others when they are idle, or after a while.
"""

from __future__ import annotations

import csv
import io
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Callable

AT_WORK = 6.0
"""Seconds that a statement may go on: one of the service's ends within 5 (DB_STATEMENT_TIMEOUT)."""

GONE_LIMIT = 20.0
"""Seconds for all to be gone."""

POLL = 0.2

LOGIN_MOST = 6.0
"""Seconds that a login may take (authentication_timeout, 5 s): one that began before with the old
password is seen only once it is over."""

# A walsender is never idle. A standby connects again, and sends on from where it was.
END = """
    SELECT count(*), count(CASE WHEN state = 'idle' OR backend_type = 'walsender' OR {late}
                                THEN pg_terminate_backend(pid) END)
      FROM pg_stat_activity
     WHERE usename = '{role}' AND backend_start < to_timestamp({moment}) AND pid <> pg_backend_pid()
"""


def end_older(role: str, moment: float, ask: Callable[[str], str]) -> int:
    """End a role's sessions on one server that began before `moment` (Unix time, of the server).

    `ask` runs SQL there and returns the rows as psql prints them, nothing if it cannot. Returns how
    many there were. Raises StackError when some are left.
    """
    begun = time.monotonic()
    most, count, waited = 0, "", 0.0
    while count != "0" or waited < LOGIN_MOST:
        waited = time.monotonic() - begun
        late = "true" if waited > AT_WORK else "false"
        count = ask(END.format(role=role, moment=moment, late=late)).partition("|")[0].strip()
        if waited > GONE_LIMIT:
            told = f"{count} are left" if count else "the server does not answer"
            raise StackError(
                f"sessions of {role} with the old password are not all gone after "
                f"{GONE_LIMIT:.0f} s ({told}); `holdfast status` shows how the nodes are. Then "
                "rotate it once more."
            )
        most = max(most, int(count or 0))
        time.sleep(POLL)
    return most


CLIENTS = "SHOW CLIENTS"
CONNECTED = "%Y-%m-%d %H:%M:%S %Z"


def end_older_clients(role: str, moment: float, console: Callable[[str], str]) -> int:
    """End a role's clients of one pooler that logged in before `moment` (Unix time).

    Those that have a session of PostgreSQL are at work, and may end that first. `console` runs a
    command there and returns its rows as CSV, nothing if it cannot. Returns how many there were.
    Raises StackError when some are left.
    """
    begun, ended = time.monotonic(), set[str]()
    while True:
        waited = time.monotonic() - begun
        told = console(CLIENTS)
        older = [
            row
            for row in csv.DictReader(io.StringIO(told))
            if row["user"] == role and _connected(row) < moment
        ]
        if told and not older and waited >= LOGIN_MOST:
            return len(ended)
        if waited > GONE_LIMIT:
            left = f"{len(older)} are left" if told else "its pooler does not answer"
            raise StackError(
                f"clients of {role} with the old password are not all gone after "
                f"{GONE_LIMIT:.0f} s ({left}); `holdfast status` shows how the nodes are. Then "
                "rotate it once more."
            )
        for row in older:
            if not row["link"] or waited > AT_WORK:
                console(f"KILL_CLIENT {row['id']}")
                ended.add(row["id"])
        time.sleep(POLL)


def _connected(client: dict[str, str]) -> float:
    """Return the second in which a client logged in: one too early ends a client too many."""
    when = datetime.strptime(client["connect_time"], CONNECTED).replace(tzinfo=UTC)
    return when.timestamp()
