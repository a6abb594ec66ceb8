"""What `status` makes of a snapshot: durability, redundancy, and each thing that is wrong."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.backups.repository import Reach
from ops.certificates import Certificate, read, span
from ops.cluster import Container
from ops.diagnosis import LAG_MOST, RUNBOOK, diagnose, where_writes_are
from ops.operate import restart_order
from ops.snapshot import Node, Server, Snapshot

ROOT = Path(__file__).parents[3]


def node(name: str, state: str, *, in_sync: bool = False, lag: int | None = None) -> Node:
    """Make a healthy node that is where the monitor wants it."""
    return Node(name, state, state, healthy=True, lsn="0/1", timeline=1, lag=lag, in_sync=in_sync)


PRIMARY = node("postgres1", "primary")
STANDBY = node("postgres2", "secondary", in_sync=True, lag=0)
WHOLE = Snapshot(
    containers=[Container("app1", "running", "Up 1 second (healthy)")],
    nodes=[PRIMARY, STANDBY],
    writable=["postgres1"],
    vip_holder="haproxy1",
    edge=True,
    servers=[
        Server("apps", "app1", "UP"),
        Server("apps", "app2", "UP"),
        Server("pg_primary", "postgres1", "UP"),
        Server("pg_primary", "postgres2", "DOWN"),
        Server("pg_any", "postgres1", "UP"),
        Server("pg_any", "postgres2", "UP"),
    ],
)


def test_a_whole_stack_has_no_problem() -> None:
    """All is well, and only then is it whole."""
    assert diagnose(WHOLE) == []
    assert diagnose(replace(WHOLE, backups=SAVED)) == []
    assert diagnose(replace(WHOLE, backups=replace(SAVED, first=None, newest=None))) == []
    assert WHOLE.whole
    assert WHOLE.redundant
    assert WHOLE.durability == "replicated"


@pytest.mark.parametrize(
    ("commits", "durability", "words"),
    [
        ("on", "replicated", "an acknowledged write is on two nodes"),
        ("local", "local", "an acknowledged write is on one node, and soon on two"),
        (
            "remote_apply",
            "replicated",
            "an acknowledged write is on two nodes, and both show it",
        ),
    ],
)
def test_what_commits_wait_for_is_said_and_is_no_problem(
    commits: str, durability: str, words: str
) -> None:
    """Any node may be lost; with REPLICATION=async the last writes with it, as was chosen."""
    chosen = replace(WHOLE, nodes=[PRIMARY, replace(STANDBY, commits=commits)])
    assert diagnose(chosen) == []
    assert chosen.whole
    assert chosen.durability == durability
    assert where_writes_are(chosen) == words
    alone = replace(chosen, nodes=[PRIMARY, replace(chosen.nodes[1], in_sync=False)])
    assert not alone.redundant
    assert alone.durability == "local"
    assert where_writes_are(alone) == "an acknowledged write is on one node alone"
    assert diagnose(alone)[0].heading == "Commits are on one node only"


def ends_in(life: int, left: float) -> list[Certificate]:
    """Make a certificate for `life` seconds, of which so many are left."""
    return [Certificate("postgres1", life, time.time() + left)]


ALONE = [node("postgres1", "wait_primary"), replace(STANDBY, healthy=False, in_sync=False)]
MOVING = replace(STANDBY, state="catchingup", in_sync=False)
DOWN = [Server("apps", "app1", "UP"), Server("apps", "app2", "DOWN"), *WHOLE.servers[2:]]
DEAD = Container("pg-monitor", "exited", "Exited (137) 2 seconds ago")

SAVED = Reach(first=0.0, newest=time.time(), archived=2.0, archives=True, failed="")
DAYS_AGO = time.time() - 49 * 3600
BEHIND = "Backups are behind"

LATE = "A certificate has ended, or is about to"
WRONG = {
    "a line of the file of tokens": (
        replace(WHOLE, tokens="line 2: it is not a name"),
        "The file of tokens is wrong",
    ),
    "a certificate that was not renewed": (replace(WHOLE, certificates=ends_in(60, 11)), LATE),
    "a certificate that has ended": (replace(WHOLE, certificates=ends_in(60, -1)), LATE),
    "no primary": (replace(WHOLE, writable=[]), "No node accepts writes"),
    "two primaries": (
        replace(WHOLE, writable=["postgres1", "postgres2"]),
        "Two nodes accept writes",
    ),
    "alone": (replace(WHOLE, nodes=ALONE), "Commits are on one node only"),
    "standby down": (replace(WHOLE, nodes=ALONE), "A data node is down"),
    "catching up": (replace(WHOLE, nodes=[PRIMARY, MOVING]), "A data node is down"),
    "lagging": (replace(WHOLE, nodes=[PRIMARY, replace(STANDBY, lag=LAG_MOST + 1)]), "lags"),
    "maintenance": (
        replace(WHOLE, nodes=[ALONE[0], node("postgres2", "maintenance")]),
        "Planned work",
    ),
    "no monitor": (replace(WHOLE, nodes=[]), "The monitor is down"),
    "no virtual IP": (replace(WHOLE, vip_holder=None, servers=[]), "Nobody holds the virtual IP"),
    "two virtual IPs": (
        replace(WHOLE, vip_holders=["haproxy1", "haproxy2"]),
        "The virtual IP moves, or two proxies hold it",
    ),
    "an app is out": (replace(WHOLE, servers=DOWN), "An app is out of rotation"),
    "a container is down": (replace(WHOLE, containers=[DEAD]), "A container is down"),
    "no edge": (replace(WHOLE, edge=False), "The published ports do not answer"),
    "nothing is archived": (replace(WHOLE, backups=replace(SAVED, archives=False)), BEHIND),
    "a backup that failed": (replace(WHOLE, backups=replace(SAVED, failed="diff")), BEHIND),
    "WAL that is missing": (replace(WHOLE, backups=replace(SAVED, gap="0" * 24)), BEHIND),
    "no backup for days": (replace(WHOLE, backups=replace(SAVED, newest=DAYS_AGO)), BEHIND),
    "nothing": (Snapshot(), "Everything is off"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str) -> None:
    """With a command, a heading that the runbook has, and the stack does not count as whole."""
    snapshot, heading = WRONG[case]
    found = diagnose(snapshot)
    assert any(heading in problem.heading for problem in found)
    assert not snapshot.whole or heading in {"lags", LATE, BEHIND, "The file of tokens is wrong"}
    headings = (ROOT / RUNBOOK).read_text().splitlines()
    for problem in found:
        assert f"## {problem.heading}" in headings
        assert problem.command.split()[0] in {"docker", "./holdfast", "make"}


def test_a_cluster_that_is_about_to_change_is_not_redundant() -> None:
    """The states are right, but the monitor wants other ones already."""
    changing = replace(WHOLE, nodes=[replace(PRIMARY, assigned="draining"), STANDBY])
    assert not changing.redundant


def test_a_certificate_that_will_be_renewed_is_no_problem() -> None:
    """A fifth of its life is the bound: renewal comes at a third."""
    assert diagnose(replace(WHOLE, certificates=ends_in(60, 13))) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (90 * 86400, "90 days"), (2 * 86400, "2 days"), (86400, "24 hours"), (119, "119 seconds"),
        (7200, "2 hours"), (120, "2 minutes"), (1, "1 second"), (-5, "0 seconds"),
    ],
)  # fmt: skip
def test_how_long_is_left_is_said_in_the_unit_that_fits(seconds: int, words: str) -> None:
    """Days, and when they are few hours, minutes, seconds."""
    assert span(seconds) == words


def test_ends_are_read_as_they_are_written(tmp_path: Path) -> None:
    """The first to end in front; nothing where nothing, or something else, is written."""
    assert read(tmp_path) == []
    (tmp_path / "ends").write_text("ca-nodes 300 2000\npostgres1 60 1000\n")
    assert read(tmp_path) == [
        Certificate("postgres1", 60, 1000),
        Certificate("ca-nodes", 300, 2000),
    ]
    (tmp_path / "ends").write_text("postgres1 soon\n")
    assert read(tmp_path) == []


def test_durability_is_unknown_without_a_primary_or_a_monitor() -> None:
    """Nobody can say then, and it says so."""
    assert replace(WHOLE, writable=[]).durability == "unknown"
    assert replace(WHOLE, nodes=[]).durability == "unknown"


def test_a_rolling_restart_leaves_what_holds_a_role_for_last() -> None:
    """The spare proxy before the one with the address, the standby before the primary."""
    order = restart_order(replace(WHOLE, vip_holder="haproxy2"))
    assert order.index("haproxy1") < order.index("haproxy2")
    assert order.index("postgres2") < order.index("postgres1")
    everything = {"app1", "app2", "haproxy1", "haproxy2", "pg-monitor", "postgres1", "postgres2"}
    assert set(order) == everything | {"vip-access", "psql-client", "certificates"}


@pytest.mark.parametrize(("days", "told"), [(29, False), (31, True)])
def test_old_packages_are_a_problem(*, days: float, told: bool) -> None:
    """Of the oldest image, with the command that mends it."""
    now = datetime.now(UTC)
    old, new = (
        replace(WHOLE.containers[0], updated=(now - timedelta(days=age)).isoformat())
        for age in (days, 1)
    )
    found = diagnose(replace(WHOLE, containers=[new, old]))
    assert [(each.heading, each.command) for each in found] == (
        [("Security updates", "make update")] if told else []
    )
