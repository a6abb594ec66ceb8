"""Brings the real stack up once, and gives every test a whole one: nothing down, in sync."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops import cluster, names, settings
from ops.host import Host
from tests.stack.support import REDUNDANT_LIMIT, ROOT, is_redundant, is_whole, make, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

SAID = 3000
"""Characters of a failure that are said at once; the whole is in the summary."""

UP_LIMIT = 1200.0
"""Seconds for `make up` from nothing over a slow network."""

JUST_NOW = 0.5
"""Seconds that a look counts: the one after a test is also the one before the next."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the stack; the first test also pays for bringing it up."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.stack)
            item.add_marker(pytest.mark.timeout(UP_LIMIT + 600))


def _running() -> list[str]:
    if not Host(ROOT).engine_answers():
        return []
    return [container.name for container in cluster.containers() if container.state == "running"]


@pytest.fixture(scope="session")
def running_stack() -> Iterator[None]:
    """The stack, brought up by `make up`, and taken down again if it was down before."""
    assert names.is_default(), "these tests are of the first stack; run them without NAME"
    settings.adopt(ROOT, {*settings.PORTS, *settings.SUBNETS})  # the rest is for `make up` to know
    host = Host(ROOT)
    if not host.engine_answers() and os.geteuid() != 0:
        reason = "no Docker engine answers, and starting or installing one needs root"
        if os.environ.get("CI") == "true":
            pytest.fail(f"not run: {reason}")
        pytest.skip(f"not run: {reason}")
    was_up = "vip-access" in _running()
    make("up", UP_LIMIT)
    yield
    if not was_up:
        make("down", UP_LIMIT)


_broken_by: list[str] = []
"""The test after which the stack did not become whole again, while it is not."""


_counts_until = [-math.inf]
"""Until when the last look counts, in monotonic seconds."""


@pytest.fixture(autouse=True)
def stack(
    running_stack: None,  # noqa: ARG001 - ordering only
    request: pytest.FixtureRequest,
) -> Iterator[None]:
    """A whole stack before the test, and again after it, whatever the test broke.

    One that does not heal is waited for once: every later test fails at once, and says after which.
    """
    if _broken_by and not (is_redundant() and is_whole()):
        pytest.fail(f"not run: the stack has not been whole since {_broken_by[0]}")
    _broken_by[:] = [request.node.nodeid]
    if time.monotonic() > _counts_until[0]:  # a fixture of a whole file came in between
        _make_whole()
    yield
    if _shares_its_look(request):
        _counts_until[:] = [math.inf]
    else:
        _make_whole()
        _counts_until[:] = [time.monotonic() + JUST_NOW]
    _broken_by.clear()


def _shares_its_look(request: pytest.FixtureRequest) -> bool:
    """Tell whether the next test is of the same file, and both are marked as harmless."""
    at = request.session.items.index(request.node)
    pair = request.session.items[at : at + 2]
    return len(pair) > 1 and all(
        each.path == request.path and each.get_closest_marker("harmless") for each in pair
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once what failed: a run that is ended from outside prints no summary."""
    if report.failed:
        print(f"\n{report.nodeid} ({report.when}):\n{report.longreprtext[-SAID:]}", file=sys.stderr)


def _make_whole() -> None:
    """Start what is down, and wait until nothing is missing: one look, where nothing is."""
    if is_whole():
        return
    names = [c.name for c in cluster.containers() if c.name != cluster.ONE_SHOT]
    subprocess.run(["docker", "start", *names], capture_output=True, check=True, timeout=60)
    wait_until("a primary and a standby in sync", REDUNDANT_LIMIT, is_redundant)
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)
