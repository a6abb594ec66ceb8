"""`holdfast status` fits a terminal of 80 columns, and cuts nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import settings
from ops.cli import status
from ops.cli.plain import drawn
from ops.cluster import Container
from ops.snapshot import Node, Server, Sizes, Snapshot
from tests.unit.ops.test_diagnosis import WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterable

COLUMNS = 80

STATES = (
    *("init", "single", "wait_primary", "primary", "draining", "demote_timeout", "demoted"),
    *("catchingup", "secondary", "prepare_promotion", "stop_replication", "wait_standby"),
    *("maintenance", "join_primary", "apply_settings", "prepare_maintenance", "wait_maintenance"),
    *("report_lsn", "fast_forward", "join_secondary", "dropped"),
)
"""All that pg_auto_failover 2.2 has for a node."""

NODES = st.builds(
    Node,
    name=st.sampled_from(["postgres1", "postgres2", "postgres3"]),
    state=st.sampled_from(STATES),
    assigned=st.sampled_from(STATES),
    healthy=st.booleans(),
    lsn=st.builds("{:X}/{:08X}".format, st.integers(0, 0xFF), st.integers(0, 0xFFFFFFFF)),
    timeline=st.integers(1, 99),
    lag=st.none() | st.integers(0, 2**35),
    in_sync=st.booleans(),
    used=st.none() | st.integers(0, 100),
)
NAMES = ["app1", "app2", "db-migrate", "haproxy1", "haproxy2", "pg-monitor", "psql-client"]
CONTAINERS = st.lists(
    st.builds(
        Container,
        st.sampled_from(NAMES),
        st.sampled_from(["running", "exited", "restarting"]),
        st.sampled_from(
            ["Up 2 minutes (unhealthy)", "Exited (137) 22 minutes ago", "Up (healthy)"]
        ),
    ),
    max_size=10,
)
SNAPSHOTS = st.builds(
    Snapshot,
    containers=CONTAINERS,
    nodes=st.lists(NODES, max_size=3, unique_by=lambda node: node.name),
    writable=st.lists(st.sampled_from(["postgres1", "postgres2"]), max_size=2, unique=True),
    vip_holder=st.none() | st.just("haproxy1"),
    servers=st.lists(
        st.builds(
            Server,
            st.sampled_from(["apps", "pg_primary", "pg_any"]),
            st.sampled_from(["app1", "app2", "postgres1", "postgres2", "postgres3"]),
            st.sampled_from(["UP", "DOWN", "UP 1/2", "DOWN 1/2", "MAINT (resolution)"]),
        ),
        max_size=9,
        unique_by=lambda server: (server.backend, server.name),
    ),
    edge=st.booleans(),
    sizes=st.none() | st.builds(Sizes, *[st.integers(0, 2**45)] * 5),
)


def lines(parts: Iterable[object]) -> list[str]:
    """All lines of a page."""
    return [line for part in parts for line in drawn(part).split("\n")]  # type: ignore[arg-type]


@given(SNAPSHOTS)
def test_everything_fits(now: Snapshot) -> None:
    """Whatever the states are; a command to be copied may be longer, but is one line."""
    shown = lines(status._page(now))
    assert [line for line in shown if len(line) > COLUMNS and not line.startswith("  $ ")] == []
    for node in now.nodes:
        assert any(node.name in line and node.state in line for line in shown)
        if node.assigned != node.state:
            assert any(line.strip().startswith(f"→ {node.assigned}") for line in shown)


@pytest.mark.parametrize("state", STATES)
def test_states_are_not_cut(state: str) -> None:
    """The longest has nineteen letters."""
    node = Node("postgres1", state, state, healthy=True, lsn="0/1", timeline=1)
    assert any(f" {state} " in line for line in lines([status._nodes(Snapshot(nodes=[node]))]))


def test_a_problem_has_its_command_and_its_heading() -> None:
    """The one to run, the other to read."""
    node = Node("postgres2", "secondary", "secondary", healthy=False, lsn="0/1", timeline=1)
    primary = replace(node, name="postgres1", state="primary", assigned="primary", healthy=True)
    shown = lines(status._page(Snapshot(nodes=[primary, node], writable=["postgres1"])))
    at = shown.index("The monitor does not reach postgres2 (last state: secondary).")
    assert shown[at + 1 : at + 3] == [
        "  $ docker start postgres2",
        '  docs/runbook.md, "A data node is down"',
    ]


def test_colours_do_not_move_columns() -> None:
    """What is drawn in colours has the same letters in the same places."""
    node = Node("postgres1", "primary", "draining", healthy=False, lsn="0/1", timeline=1, lag=5)
    table = status._nodes(Snapshot(nodes=[node], writable=["postgres1"]))
    plain, coloured = table.lines(), table.lines(colours=True)
    assert plain != coloured
    stripped = [line.replace("\x1b[0m", "") for line in coloured]
    for code in ("\x1b[1m", "\x1b[31m", "\x1b[32m"):
        stripped = [line.replace(code, "") for line in stripped]
    assert [line.rstrip() for line in stripped] == plain


MB = 2**20
SIZES = Sizes(database=1234 * MB, audit=900 * MB, users=300 * MB, keys=20 * MB, wal=64 * MB)


def page(sizes: Sizes | None, used: int | None = 62) -> list[str]:
    """Return what is shown, on a terminal of the usual width."""
    nodes = [replace(node, used=used) for node in WHOLE.nodes]
    return lines(status._page(replace(WHOLE, nodes=nodes, sizes=sizes)))


def test_what_takes_room_is_shown() -> None:
    """Each in one line: tables, volumes, and WAL that waits for standbys."""
    lines = page(SIZES)
    data = next(line for line in lines if line.strip().startswith("data"))
    assert data.split(maxsplit=1)[1] == "1.2 GB: audit 900 MB, users 300 MB, keys 20 MB"
    used = next(line for line in lines if line.strip().startswith("volumes used"))
    assert used.endswith("postgres1 62 %, postgres2 62 %")
    assert any(line.split() == ["WAL", "kept", "64", "MB", "for", "standbys"] for line in lines)
    assert max(map(len, lines)) <= COLUMNS


def test_nothing_is_shown_of_what_nobody_says() -> None:
    """No primary, no node."""
    parts = ("data ", "WAL kept", "volumes used")
    assert not any(line.strip().startswith(parts) for line in page(None, None))


def test_where_the_stack_is_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, its ports, its networks, each in one line."""
    for name in (*settings.PORTS, *settings.SUBNETS):
        monkeypatch.delenv(name, raising=False)
    shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in page(SIZES) if line.strip()}
    assert shown["stack"] == "holdfast"
    assert shown["ports"] == "http 8080, https 8443, stats 8404, write 6432, read 6433"
    assert shown["networks"] == "edge 172.30.0.0/24, database 172.30.1.0/24"
    monkeypatch.setenv("NAME", "second")
    assert any(line.split() == ["stack", "second"] for line in page(SIZES))


def test_tables_before_their_migration() -> None:
    """Are left out."""
    assert any("1.2 GB: users 300 MB" in line for line in page(replace(SIZES, audit=None)))


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 kB"), (20 * MB, "20 MB"), (5000 * 2**30, "5000 GB")],
)
def test_sizes_in_words(size: int, words: str) -> None:
    """With the unit that reads best."""
    assert status.in_words(size) == words
