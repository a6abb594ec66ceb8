"""A keeper's report and a switchover meet at the monitor, held by a lock until they do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ops import cluster
from tests.stack.support import (
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    Writer,
    docker,
    is_redundant,
    primary,
    wait_until,
)

ALONE = """
    SELECT count(*) FROM pgautofailover.event
     WHERE eventid > {before} AND nodename = '{node}' AND goalstate = 'wait_primary'
"""

UNTIL_WAITING = """
    FOR look IN 1..1000 LOOP
        PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01);
        SELECT EXISTS (
            SELECT FROM pg_stat_activity
             WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid() AND query LIKE '%{call}(%'
        ) INTO met;
        EXIT WHEN met;
    END LOOP;
    ASSERT met, 'nobody waits with {call}';
"""
"""The step that waits until somebody else waits for a lock with that call, 10 s at most."""

REPORT_WAITS = UNTIL_WAITING.format(call="node_active")
SWITCHOVER_WAITS = UNTIL_WAITING.format(call="perform_failover")
SWITCH_OVER = "PERFORM pgautofailover.perform_failover();"


def do(*steps: str) -> str:
    """Return one statement, and one transaction, of several steps."""
    return f"DO $$ DECLARE met boolean; BEGIN {' '.join(steps)} END $$"


def hold(node: str) -> str:
    """Return the step that holds the node's row until the end, so that its report waits."""
    return f"PERFORM FROM pgautofailover.node WHERE nodename = '{node}' FOR UPDATE;"


def monitor_sql(*statements: str) -> str:
    """Run SQL in the monitor's database, in one session; return what it says."""
    commands = [word for statement in statements for word in ("-c", statement)]
    asked = ("psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", "pg_auto_failover", *commands)
    return docker("exec", "pg-monitor", *asked).strip()


def await_another_primary(old: str) -> None:
    """Wait until a node accepts writes that is not the one of before."""
    wait_until("another primary", RESUME_LIMIT, lambda: cluster.find_primary() not in {None, old})


def test_a_report_that_meets_a_switchover_keeps_no_second_primary() -> None:
    """The old primary's keeper has asked what to do, and the switchover comes before its answer.

    Its next report is the one that counts. Until then it may not acknowledge anything by itself.
    """
    old = primary()
    with Writer() as writer:
        writer.await_writes()
        before = monitor_sql("SELECT max(eventid) FROM pgautofailover.event")
        monitor_sql(do(hold(old), REPORT_WAITS, SWITCH_OVER))
        await_another_primary(old)
        writer.await_writes()
    assert writer.failed == []
    assert writer.lost() == set()
    assert monitor_sql(ALONE.format(node=old, before=before)) == "0"
    wait_until("a redundant cluster", REDUNDANT_LIMIT, is_redundant)


def test_a_switchover_does_not_fail_for_a_report_that_it_meets() -> None:
    """They take the same two locks in opposite order: it is the report that gives up.

    The row is held until the report waits for it and the switchover behind the report. This one
    looks for deadlocks before a report would by default (1 s), so it would be the one to fail.
    """
    old = primary()
    holder = do(hold(old), SWITCHOVER_WAITS)
    switchover = do(REPORT_WAITS, SWITCH_OVER)
    with Writer() as writer, ThreadPoolExecutor() as other_session:
        writer.await_writes()
        holding = other_session.submit(monitor_sql, holder)
        monitor_sql("SET deadlock_timeout = '800ms'", switchover)
        holding.result()
        await_another_primary(old)
        writer.await_writes()
    assert writer.failed == []
    assert writer.lost() == set()
    wait_until("a redundant cluster", REDUNDANT_LIMIT, is_redundant)
