"""nginx is replaced beside clients that never retry; `make check-update` replaces everything."""

from __future__ import annotations

import httpx
import pytest

from ops import cluster, rollout
from ops.host import moment
from tests.stack.support import BASE_URL, Writer, docker, make

WAITS = 1.0
"""Seconds that a client waits which is not refused meanwhile."""

UPDATE_LIMIT = 900.0
"""Seconds for fresh images, from the archive, and every container in turn."""


def container_id(name: str) -> str:
    """Return what tells a container from the one that was there before."""
    return docker("inspect", "--format", "{{.Id}}", name).strip()


def test_nginx_is_away_and_nobody_is_refused() -> None:
    """New connections wait; the writers' own, kept ones end with an answer that says so."""

    def away(member: str) -> None:
        docker("stop", member)
        with pytest.raises(httpx.ConnectTimeout):
            httpx.get(f"{BASE_URL}/livez", timeout=WAITS)
        docker("start", member)

    with Writer() as writer:
        rollout.replace_edge(away)
        writer.await_writes()
    assert writer.failed == []
    assert writer.lost() == set()


@pytest.mark.runbook("Security updates")
@pytest.mark.long
def test_everything_is_replaced_and_nothing_fails() -> None:
    """`make update`: all containers are others, of images that are of now."""
    began = moment()
    names = [each.name for each in cluster.containers()]
    before = {name: container_id(name) for name in names}
    with Writer() as writer:
        make("update", UPDATE_LIMIT)
        writer.await_writes()
    assert writer.failed == []
    assert writer.lost() == set()
    assert [name for name in names if container_id(name) == before[name]] == []
    assert min(each.updated for each in cluster.containers()) >= began
    # What was replaced is what `make up` wants: else it makes all of it anew, at once.
    before = {name: container_id(name) for name in names if name != cluster.ONE_SHOT}
    make("up")
    assert {name: container_id(name) for name in before} == before
