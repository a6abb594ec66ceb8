"""Which backups lead on: those of the newest of the database's histories."""

from __future__ import annotations

import re

from ops import cluster
from ops.backups import points, repository

ARCHIVE = f"archive/{repository.STANZA}"
LISTING = (*repository.PGBACKREST, "repo-ls", "--recurse", ARCHIVE)
TIMELINE = re.compile(r"/([0-9A-F]{8})(?:[.]history$|[0-9A-F]{16}-)")
"""A file of a timeline's: its history, or a segment. A line of a history is a timeline that led
there, and the position where it was left (PostgreSQL, "Timelines")."""

END = 1 << 64
"""A position that no WAL has."""


def usable() -> list[repository.Backup]:
    """Return those of the newest history, the oldest first: what was given up leads nowhere.

    pgBackRest chooses the newest one, and refuses it if it is another history's. Raises StackError.
    """
    found = repository.backups()
    listing = cluster.docker("exec", repository.container(), *LISTING).split()
    timelines = {match[1]: path for path in listing if (match := TIMELINE.search(path))}
    if not timelines:
        return found
    newest = max(timelines)
    left = {int(newest, 16): END}
    # Without its history the newest is the first, or one whose beginning was not archived.
    path = next((path for path in listing if path.endswith(f"/{newest}.history")), None)
    read = (*repository.PGBACKREST, "repo-get", f"{ARCHIVE}/{path}")
    for line in cluster.docker("exec", repository.container(), *read).splitlines() if path else ():
        words = line.split("\t")
        if len(words) > 1:
            left[int(words[0])] = points.position(words[1])
    return [each for each in found if points.position(each.lsn) <= left.get(each.timeline, -1)]
