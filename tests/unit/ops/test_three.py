"""Drills with three data nodes: what two cannot have, and what the others are measured against."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ops.cli.drill import named
from ops.console import StackError
from ops.drills import three
from ops.drills.faults import FAULTS
from ops.drills.runner import draw
from ops.drills.three import AIMS, EVERY, OF_THREE, drills
from tests.unit.ops.test_faults import BEFORE, PRIMARY, STANDBY, Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from ops.snapshot import Node, Snapshot

AHEAD = replace(STANDBY, name="postgres3", in_sync=True)


def having(*nodes: Node, primary: str | None = PRIMARY.name) -> Snapshot:
    """Return a stack with these nodes."""
    return replace(BEFORE, nodes=list(nodes), writable=[primary] if primary else [])


def struck(monkeypatch: pytest.MonkeyPatch, name: str, seen: list[Snapshot]) -> list[str]:
    """Strike, in a stack that looks like this and then like that; return what was done."""
    stage = Told()

    def wait_for(what: str, _: float, wanted: Callable[[Snapshot], bool]) -> tuple[Snapshot, float]:
        looks = [wanted(each) for each in seen]
        assert looks == [*[False] * (len(seen) - 1), True]
        stage.told.append(what)
        return seen[-1], 1.0

    monkeypatch.setattr(three.operate, "wait_for", wait_for)
    OF_THREE[name].inject(stage)
    return stage.told


def test_the_second_is_lost_when_it_has_a_standby(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before: what it acknowledges until then is on it alone."""
    leads = replace(AHEAD, state="primary", in_sync=False)
    seen = [
        having(STANDBY, PRIMARY, AHEAD),
        having(STANDBY, PRIMARY, AHEAD, primary=None),
        having(STANDBY, PRIMARY, leads, primary="postgres3"),
        having(replace(STANDBY, in_sync=True), PRIMARY, leads, primary="postgres3"),
    ]
    assert struck(monkeypatch, "two-lost-in-turn", seen) == [
        *("kill postgres2", "a primary with a standby", "measure", "kill postgres3"),
    ]


def test_the_primary_is_lost_while_one_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the other one in sync."""
    behind = replace(STANDBY, lag=8)
    seen = [
        having(STANDBY, PRIMARY, AHEAD),
        having(replace(STANDBY, lag=0), PRIMARY, AHEAD),
        having(behind, PRIMARY, replace(AHEAD, in_sync=False)),
        having(behind, PRIMARY, AHEAD),
    ]
    assert struck(monkeypatch, "standby-behind", seen) == [
        *("nothing for postgres1", "postgres1 to be behind", "measure", "kill postgres2"),
    ]


def test_two_nodes_have_the_drills_of_two() -> None:
    """As they were."""
    assert drills(2) == FAULTS
    assert not OF_THREE.keys() & FAULTS.keys()


def test_three_nodes_have_them_all_with_aims_of_their_own() -> None:
    """None that names a drill that is not there."""
    there = drills(3)
    assert list(there) == list(EVERY)
    assert {name: there[name].targets for name in AIMS} == AIMS
    others = there.keys() - AIMS.keys()
    assert all(there[name] == EVERY[name] for name in others)
    assert there["primary-killed"].targets.writes == pytest.approx(3.5)


@pytest.mark.parametrize(("nodes", "drawn"), [(2, False), (3, True)])
def test_a_soak_draws_those_of_three_where_there_are_three(nodes: int, *, drawn: bool) -> None:
    """In each of its rounds."""
    pool = draw(7, nodes)
    names = {next(pool)[0].name for _ in range(len(EVERY))}
    assert (OF_THREE.keys() <= names) is drawn


def test_any_may_be_named() -> None:
    """Whether a stack has the nodes for it is seen when it is there."""
    assert named([*OF_THREE]) == [*OF_THREE]
    with pytest.raises(StackError, match="there is no drill 'four-lost'"):
        named(["four-lost"])
