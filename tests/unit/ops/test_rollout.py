"""The turns in which containers are replaced, of a stack that is not there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ops import cluster, operate, snapshot
from ops.rollout import switch_order, switch_poolers
from ops.settings import POOLED
from tests.unit.ops.test_diagnosis import WHOLE


@pytest.mark.parametrize(("on", "first"), [(True, cluster.NODES[:2]), (False, cluster.PROXIES)])
def test_poolers_come_behind_the_proxies_back_and_go_so(on: bool, first: tuple[str, ...]) -> None:
    """No proxy sends clients to where nobody listens; who has a role comes last of its kind."""
    now = replace(WHOLE, vip_holder="haproxy1")
    order = switch_order(now, on=on)
    assert set(order[:2]) == set(first)
    assert order.index("postgres2") < order.index("postgres1")
    assert order.index("haproxy2") < order.index("haproxy1")


def test_a_stack_that_is_not_whole_is_not_switched_in_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is nobody who could stand in for what is replaced: `make up` starts all at once."""
    replaced: list[str] = []
    monkeypatch.setattr(snapshot, "take", lambda: replace(WHOLE, writable=[]))
    switch_poolers(replaced.append, on=True)
    assert replaced == []


@pytest.mark.parametrize(
    ("told", "on", "turns"), [("no", True, 4), ("yes", True, 0), ("yes", False, 4)]
)
def test_what_is_as_wanted_is_not_switched(
    monkeypatch: pytest.MonkeyPatch, told: str, on: bool, turns: int
) -> None:
    """The containers say what they were told: a switch that broke off goes on."""
    port = POOLED["NODE_PORT"] if told == "yes" else "5432"
    lines = [f'["POOLER={told}"]'] * 2 + [f'["POSTGRES1_ADDRESS=postgres1:{port}"]'] * 2
    replaced: list[str] = []
    monkeypatch.setattr(snapshot, "take", lambda: WHOLE)
    monkeypatch.setattr(cluster, "docker", lambda *_, **__: "\n".join(lines))
    monkeypatch.setattr(operate, "await_whole", lambda: 0.0)
    switch_poolers(replaced.append, on=on)
    assert len(replaced) == turns
