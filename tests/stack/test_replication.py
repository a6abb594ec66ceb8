"""REPLICATION on the real stack: what commits wait for changes while it runs, and stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from ops import cluster, operate, replication, settings, snapshot
from ops.diagnosis import diagnose
from tests.stack.support import (
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    ROOT,
    Writer,
    create_user,
    kill,
    other,
    primary,
    run,
    start,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("running_stack")

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


@pytest.fixture(autouse=True)
def synchronous() -> Iterator[None]:
    """As every stack begins, and as others want it."""
    yield
    change(replication.SYNC)


def change(mode: str) -> None:
    """As an operator does it."""
    done = run("ops.cli", "replication", mode)
    assert done.returncode == 0, done.stdout + done.stderr
    assert replication.WAITS[mode] in done.stdout


def test_it_changes_under_load_and_each_answer_says_what_it_got() -> None:
    """No request fails, none is lost, and nothing is wrong in between."""
    with Writer() as writer:
        for mode in (replication.ASYNC, replication.REMOTE_APPLY, replication.SYNC):
            change(mode)
            writer.await_writes()
            answer = create_user(mode)
            assert answer.status_code == httpx.codes.CREATED
            assert ("Durability" in answer.headers) is (mode == replication.ASYNC)
            # Which was chosen, and is no problem.
            headings = {each.heading for each in diagnose(snapshot.take())}
            assert "Commits are on one node only" not in headings
    assert not writer.failed
    assert not writer.lost()


def test_who_was_away_as_it_changed_follows_and_leads_by_it() -> None:
    """Its own settings are those of before."""
    old = primary()
    standby = other(old)
    kill(standby)
    change(replication.ASYNC)
    assert settings.read(ROOT)["REPLICATION"] == replication.ASYNC
    start(standby)
    wait_until("a standby in sync", REDUNDANT_LIMIT, lambda: snapshot.take().redundant)
    wait_until("its following", RESUME_LIMIT, lambda: replication.now(standby) == replication.ASYNC)
    assert operate.switchover() == standby
    answer = create_user("led")
    assert (answer.status_code, answer.headers["Durability"]) == (201, "local")


@pytest.mark.parametrize("mode", [replication.SYNC, replication.REMOTE_APPLY])
def test_a_commit_waits_for_what_is_shown_or_for_what_is_kept(mode: str) -> None:
    """A standby that keeps all and shows nothing yet holds up only who wants it shown."""
    change(mode)
    leader = primary()
    standby = other(leader)
    shown = "SELECT count(*) FROM users WHERE starts_with(email, 'shown-')"
    before = int(cluster.query(standby, shown, "holdfast"))
    cluster.query(standby, "SELECT pg_wal_replay_pause()")
    try:
        with ThreadPoolExecutor(1) as beside:
            answer = beside.submit(create_user, "shown")
            if mode == replication.REMOTE_APPLY:
                wait_until("a wait", RESUME_LIMIT, lambda: cluster.query(leader, WAITING) != "0\n")
                assert not answer.done()
                cluster.query(standby, "SELECT pg_wal_replay_resume()")
            assert answer.result().status_code == httpx.codes.CREATED
        seen = int(cluster.query(standby, shown, "holdfast")) - before
        assert seen == (mode == replication.REMOTE_APPLY)
    finally:
        cluster.query(standby, "SELECT pg_wal_replay_resume()")
