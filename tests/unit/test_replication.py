"""deploy/postgres/bin/replication.sh: a node's commits wait for what the operator says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.shells import Node

LOOK = """
replication=$HOME/mode
log() { :; }
local_sql() { printf '%s;' "${@:3}"; echo; } >>"$HOME/told"
look_at_replication
"""


def told(node: Node, mode: str, settings: str = "") -> str:
    """Return what PostgreSQL is told by a look."""
    (node.home / "mode").write_text(mode)
    (node.home / "data" / "postgresql.auto.conf").write_text(settings)
    (node.home / "told").write_text("")
    node.run(LOOK)
    return (node.home / "told").read_text()


def change(value: str) -> str:
    """Return how PostgreSQL is told a value."""
    return f"-c;ALTER SYSTEM SET synchronous_commit = {value};-c;SELECT pg_reload_conf();\n"


@pytest.mark.parametrize(
    ("mode", "settings", "value"),
    [
        ("async\n", "", "local"),
        ("remote_apply\n", "", "remote_apply"),
        ("remote_apply\n", "synchronous_commit = 'local'\n", "remote_apply"),
        ("sync\n", "work_mem = '4MB'\nsynchronous_commit = 'local'\n", "on"),
        ("async\n", "# synchronous_commit = 'local'\n", "local"),
    ],
)
def test_what_is_otherwise_is_changed(node: Node, mode: str, settings: str, value: str) -> None:
    """In the file that ALTER SYSTEM writes."""
    assert told(node, mode, settings) == change(value)


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("sync\n", ""),
        ("sync\n", "synchronous_commit = 'on'\n"),
        ("async\n", "synchronous_commit = 'local'\n"),
        ("", ""),  # just being written
        ("asyn", "synchronous_commit = 'on'\n"),
        ("none\n", "synchronous_commit = 'local'\n"),
    ],
)
def test_what_is_so_already_or_is_not_known_stays(node: Node, mode: str, settings: str) -> None:
    """And costs no login."""
    assert told(node, mode, settings) == ""


def test_a_node_that_does_not_answer_is_told_again(node: Node) -> None:
    """A refusal ends nothing."""
    (node.home / "mode").write_text("async\n")
    assert (
        node.run("replication=$HOME/mode; local_sql() { false; }; look_at_replication; echo on")
        == "on"
    )
