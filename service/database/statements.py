"""Which statements a connection takes: those that leave no trace on the session.

asyncpg resets a session with a query each time it goes back to the pool, a round trip for every
request. Here nothing needs a reset, because nothing that changes a session gets through: one
statement at a time, data only. Transaction control is refused for a reason of its own: routing
must know whether COMMIT was sent, or an in-doubt write could not be told from one rolled back.

It guards against mistakes, not against malice: a function in the database that changes its
session from inside is not seen.
"""

import re
from functools import lru_cache

_DATA = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "WITH", "TABLE"})
_FIRST_WORD = re.compile(r"\s*\(*\s*([A-Za-z]+)")
_TRACES = re.compile(r"\b(set_config|pg_(?:try_)?advisory_lock(?:_shared)?)\s*\(", re.IGNORECASE)
# Holds every statement of a service many times over; beyond it, texts are checked again.
_CHECKED = 1024


@lru_cache(maxsize=_CHECKED)
def check(sql: str) -> str:
    """Return `sql` if it is one data statement; ValueError says why it is not."""
    word = _FIRST_WORD.match(sql)
    if word is None or word[1].upper() not in _DATA:
        raise ValueError(
            f"only {', '.join(sorted(_DATA))} run on a pooled connection; transactions are "
            f"database.write()'s business: {sql[:60]!r}"
        )
    if trace := _TRACES.search(sql):
        raise ValueError(f"{trace[1]}() would outlive its transaction on a pooled connection")
    return sql
