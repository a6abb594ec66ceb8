"""What is given up, and when it is refused: by what the stack looks like."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ops import loss
from ops.cluster import Container
from ops.console import StackError
from ops.events import Event
from ops.snapshot import Node, Snapshot

LOST = Node("postgres1", "wait_primary", "wait_primary", healthy=False, lsn="0/3000100", timeline=1)
KEPT = Node("postgres2", "catchingup", "catchingup", healthy=True, lsn="0/3000000", timeline=1)
COUNTED = """# TYPE holdfast_database_local_commits_total counter
holdfast_database_local_commits_total 3.0
# TYPE holdfast_database_local_commits_created gauge
holdfast_database_local_commits_created {created}
"""

ALONE = datetime.fromtimestamp(1764200000.5, UTC)


def seen(seconds: float, node: str, goal: str) -> Event:
    """Return what the monitor decided, so many seconds after ALONE."""
    return Event(0, ALONE + timedelta(seconds=seconds), node, "", goal, "")


SEEN = [
    seen(-90, "postgres1", "wait_primary"),
    seen(-80, "postgres1", "primary"),
    seen(-1, "postgres2", "wait_primary"),
    seen(0, "postgres1", "wait_primary"),
    seen(1, "postgres1", "wait_primary"),
]


def snapshot(
    *nodes: Node, running: tuple[str, ...] = ("postgres2",), writable: tuple[str, ...] = ()
) -> Snapshot:
    """Return a stack with these nodes, of which some run and some accept writes."""
    containers = [
        Container(node.name, "running" if node.name in running else "exited", "") for node in nodes
    ]
    return Snapshot(containers, list(nodes), list(writable))


BOTH = ("postgres1", "postgres2")
THIRD = Node("postgres3", "secondary", "catchingup", healthy=False, lsn="0/3000080", timeline=1)


def frozen(*nodes: Node) -> Snapshot:
    """Return a stack of which the first node stands still."""
    now = snapshot(*nodes)
    return replace(now, containers=[Container(nodes[0].name, "paused", ""), *now.containers[1:]])


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A stack whose primary is gone; the answers of its containers, by name."""
    answers = {
        "app1": COUNTED.format(created="1.7641e+09"),
        "app2": COUNTED.format(created="1.7641e+09"),
    }
    monkeypatch.setattr(loss.cluster, "ask", lambda container, *_: answers[container])
    monkeypatch.setattr(loss.snapshot, "take", lambda: snapshot(LOST, KEPT))
    monkeypatch.setattr(loss.events, "recent", lambda _: SEEN)
    return answers


def test_what_is_given_up_is_said(stack: dict[str, str]) -> None:
    """Bytes by the last report, writes by the instances' count, since the last transaction."""
    found = loss.estimate("postgres2")
    assert found == loss.Loss(
        node="postgres2",
        given_up=("postgres1",),
        wal=0x100,
        writes=6,
        since=ALONE,
    )
    assert "at most 6 of the service's (those answered" in found.words
    assert "since 2025-11-26 23:33:20 UTC" in found.words
    assert "256 bytes of WAL" in found.words
    assert stack


@pytest.mark.parametrize("said", ["", COUNTED.format(created="1.7643e+09")])
def test_an_instance_that_did_not_count_from_the_beginning_makes_it_unknown(
    stack: dict[str, str], said: str
) -> None:
    """Silent, or started since: a number would be too small."""
    stack["app2"] = said
    found = loss.estimate("postgres2")
    assert found.writes is None
    assert "an unknown number of" in found.words


def test_who_was_never_seen_alone_leaves_it_unknown(
    stack: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monitor may have lost its data meanwhile."""
    monkeypatch.setattr(loss.events, "recent", lambda _: SEEN[:3])
    found = loss.estimate("postgres2")
    assert (found.wal, found.since, found.writes) == (0x100, None, None)
    assert "Durability: local`), 256 bytes" in found.words
    assert stack


@pytest.mark.parametrize(
    ("now", "node", "said"),
    [
        (snapshot(), "postgres2", "docker start pg-monitor"),
        (snapshot(LOST, KEPT), "postgres3", "there are postgres1, postgres2"),
        (snapshot(LOST, KEPT, writable=("postgres1",)), "postgres2", "nothing has to be given up"),
        (snapshot(LOST, KEPT, running=()), "postgres2", "`docker start postgres2`"),
        (snapshot(LOST, KEPT, running=("postgres1",)), "postgres1", "it has what was acknowledged"),
        (snapshot(LOST, KEPT, running=BOTH), "postgres2", "postgres1 is there"),
        (frozen(LOST, KEPT), "postgres2", "postgres1 is there"),
        (snapshot(LOST, KEPT, THIRD), "postgres2", "`docker start postgres3`, and make that"),
        (snapshot(KEPT), "postgres2", "no data node is gone"),
        (
            snapshot(LOST, replace(KEPT, assigned="prepare_promotion")),
            "postgres2",
            "under way",
        ),
    ],
)  # fmt: skip
def test_nothing_is_given_up_that_need_not_be(
    monkeypatch: pytest.MonkeyPatch, now: Snapshot, node: str, said: str
) -> None:
    """And each refusal says what to do instead; deciding looks again."""
    monkeypatch.setattr(loss.snapshot, "take", lambda: now)
    monkeypatch.setattr(loss.events, "recent", lambda _: [])
    with pytest.raises(StackError, match=said):
        loss.estimate(node)
    with pytest.raises(StackError, match=said):
        loss.accept(loss.Loss(node, ("postgres1",), 0, None, None))


@pytest.mark.parametrize("state", ["catchingup", "secondary", "demoted", "maintenance"])
def test_whoever_is_left_can_be_the_last_resort(
    stack: dict[str, str], monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Also who was the primary once, and was demoted before the last one was lost."""
    left = replace(KEPT, state=state, assigned="catchingup")
    monkeypatch.setattr(loss.snapshot, "take", lambda: snapshot(LOST, left))
    assert loss.estimate("postgres2").given_up == ("postgres1",)
    assert stack


def test_what_was_agreed_to_is_what_is_done(
    stack: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that was started meanwhile is not dropped, whatever the answer was."""
    agreed = replace(loss.estimate("postgres2"), given_up=("postgres1", "postgres3"))
    done: list[tuple[str, ...]] = []
    monkeypatch.setattr(loss.operate, "in_container", lambda *words: done.append(words))
    with pytest.raises(StackError, match="ask again"):
        loss.accept(agreed)
    assert done == []
    assert stack


def test_who_goes_on_between_two_looks_has_said_what_it_has(
    stack: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monitor promotes it by itself as soon as it has noticed that the other one is gone."""
    kept = replace(KEPT, state="maintenance", assigned="maintenance")
    promoted = replace(KEPT, state="wait_primary", assigned="wait_primary")
    looks = iter([snapshot(LOST, kept), snapshot(LOST, kept)])
    then = snapshot(LOST, promoted, writable=("postgres2",))
    monkeypatch.setattr(loss.snapshot, "take", lambda: next(looks, then))
    monkeypatch.setattr(loss, "PROMOTED_LIMIT", 1.0)
    told: list[str] = []
    monkeypatch.setattr(loss.operate, "tell_monitor", told.append)
    monkeypatch.setattr(loss.operate, "in_container", lambda *words: told.append(words[-2]))
    monkeypatch.setattr(loss.operate, "begin_history", told.append)
    assert loss.accept(loss.estimate("postgres2")) == "postgres2"
    assert told == [loss.REPORT.format("postgres2"), "postgres1", "postgres2"]
    assert stack
