"""Ends the sessions that a role has opened before a moment, as gently as PostgreSQL can.

Whoever knew an old password could keep what was opened with it for as long as it likes. Idle
sessions end at once, and no statement with them; others when they are idle, or after a while.
"""

from __future__ import annotations

import time
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
