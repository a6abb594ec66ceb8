"""PostgreSQL: what the data nodes do, keep and have room for; backups."""

from __future__ import annotations

from dashboards.model import GREEN, RED, Dashboard, Panel, Query, Row, above, below, number

NODE = 'job="postgres", instance=~"$instance"'
OURS = f'{NODE}, datname="holdfast"'
NAMED = "{{instance}}"


def rate(metric: str) -> str:
    """Return what grows in the database of the service, a second, by node."""
    return f"sum by (instance) (rate(pg_stat_database_{metric}{{{OURS}}}[$__rate_interval]))"


WORK = Row(
    "Work",
    (
        Panel(
            "Transactions",
            "Transactions a second in the database holdfast that were committed or rolled back.",
            "ops",
            (
                Query(rate("xact_commit"), "{{instance}} committed"),
                Query(rate("xact_rollback"), "{{instance}} rolled back"),
            ),
        ),
        Panel(
            "Rows",
            "Rows a second that were read by an index, inserted, changed and deleted.",
            "ops",
            (
                Query(rate("tup_fetched"), "{{instance}} read"),
                Query(rate("tup_inserted"), "{{instance}} inserted"),
                Query(rate("tup_updated"), "{{instance}} changed"),
                Query(rate("tup_deleted"), "{{instance}} deleted"),
            ),
        ),
        Panel(
            "Sessions",
            "Sessions by what they do. `idle in transaction` keeps rows from being cleaned up.",
            "none",
            (
                Query(
                    f"sum by (instance, state) (pg_stat_activity_count{{{NODE}}} > 0)",
                    "{{instance}} {{state}}",
                ),
            ),
            kind="stacked",
        ),
        Panel(
            "Part of max_connections in use",
            "With none left new sessions wait, and HAProxy takes the node for busy.",
            "percentunit",
            (
                Query(
                    f"sum by (instance) (pg_stat_activity_count{{{NODE}}})"
                    f" / on (instance) max by (instance) (pg_settings_max_connections{{{NODE}}})",
                    NAMED,
                ),
            ),
            steps=below("CONNECTIONS_MOST"),
            most=1,
        ),
        Panel(
            "Longest transaction",
            "How long the oldest open transaction has been open.",
            "s",
            (
                Query(
                    f"max by (instance) (pg_stat_activity_max_tx_duration{{{NODE}}})",
                    NAMED,
                ),
            ),
        ),
        Panel(
            "Blocks found in memory",
            "The part of the blocks that were in PostgreSQL's own memory. The rest came from the"
            " system, mostly from its cache.",
            "percentunit",
            (Query(f"{rate('blks_hit')} / ({rate('blks_hit')} + {rate('blks_read')})", NAMED),),
            most=1,
        ),
        Panel(
            "Deadlocks, and queries that a standby cancelled",
            "A second. Replay cancels a query of a standby that is in its way; the service"
            " repeats it.",
            "ops",
            (
                Query(rate("deadlocks"), "{{instance}} deadlocks"),
                Query(rate("conflicts"), "{{instance}} cancelled"),
            ),
        ),
        Panel(
            "Temporary files",
            "Bytes a second that sorts and hashes wrote to the disk, as they did not fit in"
            " work_mem.",
            "Bps",
            (Query(rate("temp_bytes"), NAMED),),
        ),
    ),
)

LOG = Row(
    "WAL and replication",
    (
        Panel(
            "Replication lag",
            "How old the last transaction is that a standby has replayed. The line is the alert's.",
            "s",
            (
                Query(
                    f"max by (instance) (pg_replication_lag_seconds{{{NODE}}}"
                    f" and on (instance) holdfast_postgres_in_recovery{{{NODE}}} == 1)",
                    NAMED,
                ),
            ),
            steps=below("REPLICATION_LAG_SECONDS_MOST"),
        ),
        Panel(
            "WAL on the disk",
            "The size of the node's WAL, and what of it slots keep for others.",
            "bytes",
            (
                Query(f"max by (instance) (pg_wal_size_bytes{{{NODE}}})", "{{instance}} all"),
                Query(
                    f"max by (instance, slot) (holdfast_postgres_retained_wal_bytes{{{NODE}}})",
                    "{{instance}} for {{slot}}",
                ),
            ),
        ),
        Panel(
            "Archived segments",
            "Segments of WAL a second that went to the repository, and attempts that failed.",
            "ops",
            (
                Query(
                    "sum by (instance) (rate("
                    f"pg_stat_archiver_archived_count{{{NODE}}}[$__rate_interval]))",
                    "{{instance}} archived",
                ),
                Query(
                    "sum by (instance) (rate("
                    f"pg_stat_archiver_failed_count{{{NODE}}}[$__rate_interval]))",
                    "{{instance}} failed",
                ),
            ),
        ),
        Panel(
            "Archiving",
            "Whether the last attempt to archive WAL failed. As long as that lasts, WAL piles up.",
            "none",
            (
                Query(
                    f"max by (instance) (holdfast_postgres_archive_failing{{{NODE}}})",
                    NAMED,
                ),
            ),
            kind="states",
            words=((0, "works", GREEN), (1, "fails", RED)),
        ),
    ),
)

ROOM = Row(
    "Room",
    (
        Panel(
            "Free part of the volumes",
            "Of each node's volume and of the machine's disk. The line is the alert's.",
            "percentunit",
            (Query("min by (instance) (holdfast:volume_free:ratio)", NAMED),),
            steps=above("VOLUME_FREE_LEAST"),
            most=1,
        ),
        Panel(
            "Size of the database",
            "Of the database holdfast, by node. Nodes differ for as long as a standby replays.",
            "bytes",
            (Query(f"max by (instance) (pg_database_size_bytes{{{OURS}}})", NAMED),),
        ),
        Panel(
            "Age of the oldest transaction id",
            "In transactions. autovacuum freezes at 200 million; PostgreSQL takes no more writes"
            " shortly before 2.1 billion.",
            "none",
            (
                Query(
                    "max by (instance, datname)"
                    f" (pg_database_wraparound_age_datfrozenxid_seconds{{{NODE}}})",
                    "{{instance}} {{datname}}",
                ),
            ),
            steps=below("TRANSACTION_AGE_MOST"),
        ),
    ),
)

BACKUPS = Row(
    "Backups (with BACKUP=yes)",
    (
        Panel(
            "Age of the newest backup",
            "By kind of backup. A differential one is as good as a full one for coming back.",
            "s",
            (
                Query(
                    "min by (backup_type) (pgbackrest_backup_since_last_completion_seconds"
                    '{job="backup"})',
                    "{{backup_type}}",
                ),
            ),
            kind="number",
            span=8,
            height=5,
        ),
        Panel(
            "Age of the last verification",
            "How long ago a copy was made of a backup and found sound. 56 years: it never was.",
            "s",
            (
                Query(
                    'time() - max(holdfast_backup_verified_timestamp_seconds{job="repository"})',
                    "verified",
                ),
            ),
            kind="number",
            steps=((None, GREEN), (number("VERIFICATION_AGE_MOST"), RED)),
            span=8,
            height=5,
        ),
        Panel(
            "What is wrong with the repository",
            "A gap: WAL is missing since the newest full backup, so not every moment can be come"
            " back to. Failed: the last backup that was begun did not end well.",
            "none",
            (
                Query('max(holdfast_backup_gap{job="repository"})', "gap"),
                Query('max(holdfast_backup_failed{job="repository"})', "failed"),
            ),
            kind="states",
            words=((0, "no", GREEN), (1, "yes", RED)),
            span=8,
            height=5,
        ),
    ),
)

PAGE = Dashboard(
    "postgresql",
    "PostgreSQL",
    "What the data nodes do, how far their copies are, what they have room for, and their backups.",
    (WORK, LOG, ROOM, BACKUPS),
    instances="postgres",
)
