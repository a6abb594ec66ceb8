"""The functions of PostgreSQL that roles of the stack may execute: each one is known."""

from __future__ import annotations

from pathlib import Path

OF_ALL = {
    line
    for line in Path(__file__).with_name("functions_of_all.txt").read_text().splitlines()
    if not line.startswith("#")
}
OF_ONE = {
    # Keys in flight are told by locks with one number (migration 0004).
    "holdfast_app": {"pg_try_advisory_xact_lock"},
    # pg_monitor's.
    "holdfast_monitoring": {
        *("pg_current_logfile", "pg_get_backend_memory_contexts", "pg_get_shmem_allocations"),
        *("pg_ls_archive_statusdir", "pg_ls_logdir", "pg_ls_logicalmapdir", "pg_ls_tmpdir"),
        *("pg_ls_logicalsnapdir", "pg_ls_replslotdir", "pg_ls_waldir"),
        # The same, new in 18.
        *("pg_get_aios", "pg_get_shmem_allocations_numa", "pg_ls_summariesdir"),
        # What its server knows of the machine (deploy/postgres/watched.sql).
        "node",
    },
}
THERE = "SELECT DISTINCT proname FROM pg_proc"


def executable(role: str) -> str:
    """Return a query for the functions that a role may execute and that may change something."""
    return f"""{THERE} WHERE provolatile = 'v' AND prorettype <> 'trigger'::regtype
                  AND has_function_privilege('{role}', oid, 'EXECUTE')"""


def unknown(role: str, found: set[str], there: set[str]) -> set[str]:
    """Return what a role may execute and should not, or should and may not, of what is `there`."""
    return (found - OF_ALL) ^ (OF_ONE.get(role, set()) & there)
