"""What the page draws is what `status` would show: the same sentences, from the same snapshots."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ops.diagnosis import diagnose
from ops.panel.facts import Facts
from ops.panel.pools import Instance, read
from ops.panel.view import ROLES, as_data, snapshot_of
from tests.console_replay import backends, facts_of, killed, recording, whole, without
from tests.unit.ops.test_status import STATES


def data(facts: Facts) -> dict[str, Any]:
    """Return the page's data, as the page gets it."""
    shown: dict[str, Any] = json.loads(json.dumps(as_data(facts)))
    return shown


@pytest.mark.parametrize(("seconds", "status"), recording(), ids=lambda each: str(each)[:6])
def test_a_recorded_failover_is_shown_as_status_had_it(
    seconds: float, status: dict[str, Any]
) -> None:
    """Look by look: who leads, who holds the address, where requests go, what is wrong."""
    del seconds
    shown = data(facts_of(status))
    assert shown["primary"] == status["primary"]
    assert shown["vip"] == status["virtual_ip"]
    assert [each["name"] for each in shown["nodes"]] == ["postgres1", "postgres2"]
    for node, recorded in zip(shown["nodes"], status["nodes"], strict=True):
        same = ("state", "healthy", "timeline", "lag", "in_sync", "used")
        assert {name: node[name] for name in same} == {name: recorded[name] for name in same}
        moving = recorded["state"] != recorded["assigned"]
        assert node["assigned"] == (recorded["assigned"] if moving else None)
    up = [each for each in status["backends"] if each["status"].startswith("UP")]
    for route, backend in {"writes": "pg_primary", "reads": "pg_any", "apps": "apps"}.items():
        assert shown["routes"][route] == [each["name"] for each in up if each["backend"] == backend]
    problems = [
        {key: each[key] for key in ("what", "heading", "command")} for each in shown["problems"]
    ]
    assert [each for each in problems if each["heading"] != "Security updates"] == status[
        "problems"
    ]
    assert (shown["level"] == "well") == status["healthy"]


def test_the_snapshot_is_the_one_that_status_takes() -> None:
    """So everything that is known of snapshots counts here."""
    now = snapshot_of(whole())
    assert now.redundant
    assert now.durability == "replicated"
    assert (now.primary, now.timeline, now.vip_holder) == ("postgres1", 4, "haproxy1")
    assert diagnose(now) == []


def test_what_nobody_says_is_not_known_and_holds_nothing_back() -> None:
    """Each part may be silent; the others are drawn."""
    assert data(Facts())["word"] == "not known"
    assert data(Facts())["problems"] == []
    quiet = data(replace(whole(), states=None))  # the monitor
    assert not quiet["monitor"]["answers"]
    assert quiet["primary"] == "postgres1"
    assert [each["role"] for each in quiet["nodes"]] == ["primary", "not known"]
    assert quiet["routes"]["writes"] == ["postgres1"]
    quiet = data(replace(whole(), nodes={}))  # both nodes
    assert (quiet["primary"], quiet["level"]) == (None, "bad")
    quiet = data(replace(whole(), holds={}, servers={}))  # both proxies
    assert quiet["vip"]["holder"] is None
    assert quiet["routes"] == {"writes": [], "reads": [], "apps": []}
    quiet = data(replace(whole(), instances={}))
    assert quiet["apps"][0]["pools"] is None


def test_who_has_not_been_heard_yet_is_not_missing() -> None:
    """The console has just begun: it asks, and finds nothing wrong."""
    shown = data(replace(whole(), asking=True, holds={}, servers={}, nodes={}, edge=None))
    assert (shown["asking"], shown["word"], shown["level"]) == (True, "asking", "")
    assert shown["problems"] == []
    assert data(whole())["asking"] is False


def test_two_nodes_that_accept_writes_are_called_so() -> None:
    """That is worse than none."""
    both = {name: {"read_only": "off", "senders": []} for name in ("postgres1", "postgres2")}
    shown = data(replace(whole(), nodes=both))
    assert (shown["level"], shown["sentence"]) == ("bad", "Two nodes accept writes.")


def test_a_kill_is_drawn_as_one() -> None:
    """The node is down, writes go nowhere, reads to the other one; later writes follow."""
    shown = data(killed(0.5))
    assert (shown["word"], shown["primary"]) == ("no writes", None)
    assert (shown["nodes"][0]["runs"], shown["nodes"][0]["condition"]) == (False, "down")
    assert shown["routes"]["writes"] == []
    assert shown["routes"]["reads"] == ["postgres2"]
    assert data(killed(2.5))["routes"]["writes"] == ["postgres2"]
    assert data(killed(9.0))["word"] == "all is well"


def test_a_frozen_container_is_called_frozen() -> None:
    """Docker calls it running, and (Paused)."""
    facts = whole()
    kept = [each for each in facts.containers or [] if each.name != "app1"]
    paused = replace(next(each for each in facts.containers or [] if each.name == "app1"))
    paused = replace(paused, state="paused", status="Up 5 minutes (Paused)")
    shown = data(replace(facts, containers=[*kept, paused]))
    assert (shown["apps"][0]["runs"], shown["apps"][0]["condition"]) == (False, "frozen")


@pytest.mark.parametrize("cut", ["haproxy1", "haproxy2"])
@pytest.mark.parametrize("silent", [True, False])
def test_of_two_proxies_with_the_address_the_one_that_reaches_others_is_drawn(
    cut: str, *, silent: bool
) -> None:
    """A proxy that is cut off keeps it as well: that is said, and its table does not count."""
    other = "haproxy2" if cut == "haproxy1" else "haproxy1"
    both = {other: backends(["postgres1"], ["postgres1", "postgres2"]), cut: backends([], [])}
    if silent:
        del both[cut]
    shown = data(replace(whole(), holds={"haproxy1": True, "haproxy2": True}, servers=both))
    assert [each["holds"] for each in shown["proxies"]] == [True, True]
    assert shown["vip"]["holder"] == other
    assert shown["routes"]["writes"] == ["postgres1"]
    assert shown["level"] == "degraded"
    assert "haproxy1 and haproxy2 both hold the virtual IP." in shown["sentence"]


def test_a_stack_without_a_repository_has_none() -> None:
    """And nothing is wrong with that."""
    facts = whole()
    kept = [each for each in facts.containers or [] if each.name != "backup"]
    shown = data(replace(facts, containers=kept, backups=None))
    assert shown["backups"] is None
    assert data(without(facts, "backup"))["backups"]["condition"] == "down"


def test_every_state_of_the_monitor_has_words() -> None:
    """A newcomer reads them, not pg_auto_failover's."""
    assert set(STATES) <= set(ROLES)


def test_the_holders_table_is_the_one_that_counts() -> None:
    """The other proxy may see something else."""
    servers = {"haproxy1": backends(["postgres1"], ["postgres1"]), "haproxy2": backends([], [])}
    shown = data(replace(whole(), servers=servers, holds={"haproxy1": False, "haproxy2": True}))
    assert shown["routes"]["writes"] == []


METRICS = """
# HELP holdfast_database_pool_size Open connections.
holdfast_database_pool_size{role="write"} 5.0
holdfast_database_pool_size{role="read"} 6.0
holdfast_database_pool_idle{role="write"} 3.0
holdfast_database_pool_idle{role="read"} 6.0
holdfast_database_pool_waiting{role="write"} 2.0
holdfast_database_pool_limit{role="write"} 1e+01
holdfast_database_units_held 7.0
"""


def test_pools_are_read_from_an_instances_metrics() -> None:
    """By endpoint; and how many units of work it holds."""
    said = read(METRICS)
    assert said.pools["write"] == {"size": 5, "idle": 3, "waiting": 2, "limit": 10}
    assert (said.held, said.busy) == (7, 2)
    assert read("nonsense") == Instance()
