"""Under an open load of clients that never retry, a part dies or moves, and none of them notices.

Each test demands the same: nothing failed, nothing acknowledged is lost, nothing is there twice,
and nobody waited longer than the service holds a request. An email is unique: a write that was
applied twice answers 409 the second time, which counts as failed. What a drill does as well (a
switchover, a primary or a proxy lost) is in test_drills.py, with both kinds of clients.
"""

from __future__ import annotations

import pytest

from ops import cluster
from tests.stack.load import Load, affordable
from tests.stack.support import (
    REDUNDANT_LIMIT,
    address,
    docker,
    dropping,
    is_redundant,
    is_whole,
    kill,
    start,
    wait_until,
)

REQUEST_DEADLINE = 15.0
"""Seconds the service holds a request (deploy/compose/compose.yaml)."""

AFTER = 3.0
"""Seconds of load once the stack is whole again."""

SILENT = 8.0
"""Seconds of load while a part is silent: more than twice what noticing it takes."""

FEW = 0.4
"""Part of the load for a long silence: what it piles up is worked off in seconds."""

APPS = ("app1", "app2")


def assert_kept(load: Load) -> None:
    """All promises hold; the message of a failure has the first requests that broke one."""
    print(load.report())
    assert not load.failed, load.report()
    assert sorted(load.stored()) == sorted(load.acknowledged), load.report()
    assert load.longest() < REQUEST_DEADLINE, load.report()


def go_on(load: Load) -> None:
    """Let the load run until the stack is whole, and a little longer."""
    wait_until("a primary and a standby in sync", REDUNDANT_LIMIT, is_redundant)
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)
    load.run_for(AFTER)


def test_nothing_happens() -> None:
    """At the rate that this machine affords, on a healthy stack."""
    with Load(keyed=False) as load:
        load.run_for(AFTER)
    assert_kept(load)


def test_both_apps_stand_still() -> None:
    """As when their machine does: both fail their checks, and what arrives meanwhile waits."""
    with Load(keyed=True, share=FEW * affordable()) as load:
        docker("pause", *APPS)
        try:
            load.run_for(SILENT)
        finally:
            docker("unpause", *APPS)
        go_on(load)
    assert_kept(load)


@pytest.mark.parametrize(("app", "keyed"), [("app1", True), ("app2", False)])
def test_an_app_is_killed(app: str, *, keyed: bool) -> None:
    """What it had in hand goes to the other one: writes too, which have a key from the edge on."""
    with Load(keyed) as load:
        kill(app)
        load.run_for(AFTER)
        start(app)
        go_on(load)
    assert_kept(load)


def test_an_app_falls_silent() -> None:
    """As when its machine loses power: no FIN, no RST, and nobody refuses."""
    holder = cluster.find_vip_holder()
    assert holder is not None
    app = address("app1")
    with Load(keyed=True) as load:
        with dropping(holder, received=f"ip saddr {app}", sent=f"ip daddr {app}"):
            load.run_for(SILENT)
        go_on(load)
    assert_kept(load)


def test_both_apps_are_restarted_one_after_the_other() -> None:
    """An instance that is asked to stop finishes what it has: not even a key is needed."""
    with Load(keyed=False) as load:
        for app in APPS:
            docker("stop", app)
            start(app)
            go_on(load)
    assert_kept(load)
