"""ops.backups.replacement and rebuild: how far a restore was, and what is refused before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops import cluster, names, operate, ownership
from ops.backups import histories, points, rebuild, replacement, repository, restoring, scratch
from ops.backups.points import Target
from ops.console import StackError
from ops.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TARGET = Target("time", "2026-11-28 09:30:00.000000+00", "20261128-080000F")
SAID = "restored time 2026-11-28 09:30:00.000000+00 20261128-080000F"
OTHER = "restored default  20261128-080000F"


@pytest.mark.parametrize(
    ("state", "wanted", "restored"),
    [
        ([], True, False),
        (["primary"], True, False),
        ([f"lead {SAID}"], False, True),
        ([f"lead {OTHER}"], True, False),
        ([f"led {SAID}"], True, True),
        ([f"led {SAID}"], False, False),  # its full backup is taken: what is said now is another
        ([f"led {OTHER}"], True, False),
        ([f"restored/is-complete {SAID}", "decided"], False, True),
        ([f"restored/is-complete {SAID}"], True, False),  # the nodes may have gone on since
        ([f"restored/is-complete {OTHER}", "decided"], True, False),
    ],
)
def test_how_far_a_restore_was(
    state: list[str], *, wanted: bool, restored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what was restored to the same point is taken, and nothing that has been used since."""
    monkeypatch.setattr(repository, "is_full_wanted", lambda: wanted)
    assert replacement.is_restored(state, TARGET) is restored


@pytest.mark.parametrize(
    ("states", "node"),
    [
        ({"postgres1": [], "postgres2": ["primary"]}, "postgres2"),
        ({"postgres1": [], "postgres2": []}, "postgres1"),
        ({"postgres1": ["primary"], "postgres2": ["primary"]}, "postgres1"),
    ],
)
def test_the_node_that_was_the_primary_is_restored(states: dict[str, list[str]], node: str) -> None:
    """No other one then has data that it might go on writing."""
    assert replacement._likely(states) == node


@pytest.mark.parametrize(
    ("free", "enough"),
    [
        ({"postgres1": "1 400 4096", "postgres2": "2 400 4096"}, True),
        ({"postgres1": "1 300 4096", "postgres2": "2 400 4096"}, False),
        ({"postgres1": "1 400 4096", "postgres2": "1 400 4096"}, False),  # one file system
        ({"postgres1": "1 800 4096", "postgres2": "1 800 4096"}, True),
    ],
)
def test_room_for_what_is_kept(
    free: dict[str, str], *, enough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million bytes take half as much again, on each node, before anything stops."""
    monkeypatch.setattr(restoring, "on_volume", lambda name, _: free[name])
    ask: Callable[[], None] = lambda: replacement._require_room(  # noqa: E731
        "postgres1", ["postgres2"], 1_000_000
    )
    if enough:
        ask()
        return
    with pytest.raises(StackError, match=r"Nothing was changed; .* `make up`"):
        ask()


def test_the_monitor_has_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said how to start it, before anything stops."""

    def refuse(_: str) -> None:
        raise StackError("docker exec pg-monitor: is not running")

    monkeypatch.setattr(operate, "tell_monitor", refuse)
    with pytest.raises(StackError, match=r"`docker start pg-monitor`, then this"):
        replacement._require_monitor()


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """One of a fresh clone."""
    monkeypatch.delenv("BACKUP_S3_BUCKET", raising=False)
    names.secrets(tmp_path).mkdir(parents=True)
    return Stack(tmp_path)


def test_a_stack_is_not_made_of_a_repository_without_secrets(stack: Stack) -> None:
    """They would be made anew, and read nothing."""
    with pytest.raises(StackError, match="holdfast secrets import"):
        rebuild.require(rebuild.VOLUME, stack)


@pytest.mark.parametrize(
    ("source", "bucket", "why"),
    [
        ("volume", "", ""),
        ("s3", "backups", ""),
        ("s3", "", "in a volume"),
        ("volume", "backups", "in a bucket"),
        ("/nowhere", "backups", "in a bucket"),
        ("/nowhere", "", "no repository of a stack's"),
    ],
)
def test_where_the_repository_is_said_to_be(
    source: str, bucket: str, why: str, stack: Stack
) -> None:
    """As the settings have it, or a folder that is one."""
    (stack.secrets.folder / "db_password").touch()
    stack.environment["BACKUP_S3_BUCKET"] = bucket
    if not why:
        rebuild.require(source, stack)
        return
    with pytest.raises(StackError, match=why):
        rebuild.require(source, stack)


def test_a_folder_with_a_repository(stack: Stack, tmp_path: Path) -> None:
    """Is known by what pgBackRest has in it."""
    (stack.secrets.folder / "db_password").touch()
    folder = tmp_path / "copy" / "backup" / "holdfast"
    folder.mkdir(parents=True)
    (folder / "backup.info").touch()
    rebuild.require(str(tmp_path / "copy"), stack)


@pytest.mark.parametrize(
    ("states", "begun"),
    [
        ({}, []),
        ({"postgres1": [""]}, []),
        ({"postgres1": [f"lead {SAID}", "primary"]}, [f"lead {SAID}", "primary"]),
        ({"postgres1": ["primary"]}, None),
        ({"postgres2": ["data"]}, None),
    ],
)
def test_nodes_that_have_data(
    states: dict[str, list[str]], begun: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Are not restored over; what an earlier attempt restored is taken."""

    def on_volume(node: str, script: str) -> str:
        said = "\n".join(states[node])
        return said if script == replacement.STATE else said.strip()

    monkeypatch.setattr(ownership, "volumes", lambda: [names.volume(each) for each in states])
    monkeypatch.setattr(restoring, "on_volume", on_volume)
    if begun is not None:
        assert [each for each in rebuild._require_nothing() if each] == begun
        return
    with pytest.raises(StackError, match="`make up` starts what there is"):
        rebuild._require_nothing()


def test_a_monitor_of_nodes_that_are_gone_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for them."""
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(ownership, "volumes", lambda: [names.volume(cluster.MONITOR)])
    monkeypatch.setattr(cluster, "containers", list)
    monkeypatch.setattr(cluster, "docker", lambda *words: told.append(words) or "")
    assert rebuild._require_nothing() == []
    assert told == [("volume", "rm", "holdfast_monitor")]


def test_what_a_killed_restore_left_at_work_ends_before_anything_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its container goes on without its command, and writes where this one clears."""
    order: list[str] = []
    monkeypatch.setattr(histories, "usable", list)
    monkeypatch.setattr(points, "find", lambda *_: TARGET)
    monkeypatch.setattr(scratch, "remove", lambda member: order.append(f"removed {member}"))
    node = cluster.Container("postgres1", "running", "Up")
    monkeypatch.setattr(cluster, "containers", lambda: [node])

    def on_volume(name: str, _: str) -> str:
        order.append(f"looked at {name}")
        raise StackError("far enough")

    monkeypatch.setattr(restoring, "on_volume", on_volume)
    with pytest.raises(StackError, match="far enough"):
        replacement.replace("latest", tmp_path, order.append)
    assert order == [f"removed {replacement.MEMBER}", "looked at postgres1"]
