"""Every heading of the runbook is a test's, and every command in it is one that there is."""

from __future__ import annotations

import re

import pytest

from ops import cluster
from tests.runbook import HEADINGS, ROOT, TEXT

MARK = re.compile(r'^@pytest\.mark\.runbook\("(.+)"\)$', re.MULTILINE)
MARKED = {
    heading
    for file in (ROOT / "tests/stack").glob("test_*.py")
    for heading in MARK.findall(file.read_text())
}


@pytest.mark.parametrize("heading", HEADINGS)
def test_every_heading_has_a_test(heading: str) -> None:
    """One that makes its state, or a drill of it, and follows the text."""
    assert heading in MARKED


def test_no_test_is_of_a_heading_that_is_gone() -> None:
    """The text changed, and so must who follows it."""
    assert set(HEADINGS) >= MARKED


def test_commands_are_those_that_there_are() -> None:
    """Targets of the Makefile, containers of the stack."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = set(re.findall(r"[`(]make (?:-s )?([\w-]+)", TEXT))
    assert asked - targets == set()
    known = {*cluster.NODES, *cluster.APPS, *cluster.PROXIES, cluster.MONITOR, cluster.EDGE}
    known |= {cluster.MAKER, cluster.CLIENT, cluster.REPOSITORY, "NAME", "postgresN", "all", "of"}
    named = set(re.findall(r"`docker (?:start|stop|restart|exec|logs) (\w[\w-]*)", TEXT))
    assert named - known == set()
