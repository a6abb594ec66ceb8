"""What the primary archives, as PostgreSQL says: until when, and all of it now.

Times are Unix times in seconds.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

from ops import cluster, names
from ops.console import StackError

ARCHIVED_LIMIT = 60.0
"""Seconds for all of the WAL that there is to be archived."""

NUDGE = 3
"""Seconds between two words to the archiver."""

POLL = 0.5
"""Seconds between two looks at what is waited for."""

SEGMENT = 24
"""Characters in the name of a segment of WAL; that of a timeline's history has fewer."""

ARCHIVER = "SELECT to_json(archiver) FROM pg_stat_archiver AS archiver"
ARCHIVER_PROCESS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'archiver'"

END_SEGMENT = ("SELECT pg_current_xact_id()", "SELECT pg_walfile_name(pg_switch_wal() - 1)")
"""Ends the segment that is being written, and says its name. Not before a commit of now is in it: a
recovery to a moment needs one that is later, to know that it has come far enough."""

PSQL = ("psql", "--no-psqlrc", "-qAt", "-d", "postgres")


def archived_until() -> float | None:
    """Return when the primary archived a segment last; None where nobody says."""
    return moment(archiver(cluster.find_primary()), "last_archived_time")


def archiver(primary: str | None) -> dict[str, Any]:
    """Return pg_stat_archiver's row; nothing where nobody says."""
    said = cluster.query(primary, ARCHIVER) if primary else ""
    row: dict[str, Any] = json.loads(said) if said else {}
    return row


def moment(row: dict[str, Any], name: str) -> float | None:
    """Return one of the row's times in Unix time; None: it has not been yet."""
    when = row.get(name)
    return None if when is None else datetime.fromisoformat(when).timestamp()


def archive_now() -> str | None:
    """Have all that is acknowledged archived; return the last segment of it.

    None: no node accepts writes, so nothing is being written. Raises StackError when it takes too
    long.
    """
    primary = cluster.find_primary()
    if primary is None:
        return None
    words = [word for statement in END_SEGMENT for word in ("-c", statement)]
    answer = cluster.ask(primary, *PSQL, *words).split()
    if not answer:
        raise StackError(f"{primary} does not answer; `{names.command('./holdfast status')}`.")
    segment = answer[-1]
    began = time.monotonic()
    nudges = iter(range(NUDGE, int(ARCHIVED_LIMIT) + NUDGE, NUDGE))
    nudge_at = next(nudges)
    while not reaches(archiver(primary).get("last_archived_wal"), segment):
        passed = time.monotonic() - began
        if passed > ARCHIVED_LIMIT:
            logs = f"docker logs --tail 20 {names.container(primary)}"
            raise StackError(f"{primary} does not archive: `{logs}` says why.")
        if passed > nudge_at:
            nudge_at = next(nudges)
            nudge(primary)
        time.sleep(POLL)
    return segment


def nudge(primary: str) -> None:
    """Have the archiver try again at once: after three failures it waits for a minute."""
    process = cluster.query(primary, ARCHIVER_PROCESS).strip()
    if process:
        cluster.ask(primary, "kill", "-HUP", process)


def reaches(last: str | None, segment: str) -> bool:
    """Tell whether what was archived last is the segment, or a later one.

    Of one timeline the names are in order; one of a later timeline is later. A timeline's history,
    whose name is shorter, is archived before all segments.
    """
    return last is not None and len(last) >= len(segment) and last[: len(segment)] >= segment
