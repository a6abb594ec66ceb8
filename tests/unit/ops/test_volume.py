"""A node's volume is changed while the node is in maintenance, and given back whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops.console import StackError
from ops.drills import volume
from ops.snapshot import Node, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

MOUNTED = f"bounded {volume.BOUNDED} tmpfs rw 0 0\n"


def cluster(primary: str) -> Snapshot:
    """Nodes a and b, one of them the primary."""
    nodes = [Node(name, "", "", healthy=True, lsn="", timeline=1) for name in ("a", "b")]
    return Snapshot(nodes=nodes, writable=[primary])


class Docker:
    """An engine that notes what it is told, together with what the cluster is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.mounts = MOUNTED
        self.left = ""  # what is left of a helper
        self.refuses = ""  # the first word of a command that fails

    def __call__(self, *arguments: str) -> str:
        """Answer a command."""
        word = arguments[0]
        script = " and the script" if arguments[-1] in {volume.BOUND, volume.UNBOUND} else ""
        name = arguments[arguments.index("--name") + 1] if "--name" in arguments else arguments[1]
        self.told.append(f"{word} {name}{script}" if word != "ps" else "ps")
        if word == self.refuses:
            raise StackError("not permitted")
        if arguments[2:] == ("cat", "/proc/mounts"):
            return self.mounts
        return self.left if word == "ps" else ""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Docker:
    """An engine, and a cluster of a primary a and a standby b that does what it is told."""
    engine = Docker()

    def verb(name: str) -> Callable[..., None]:
        return lambda *given: engine.told.append(" ".join([name, *given]))

    def wait_for(what: str, _: float, fits: Callable[[Snapshot], bool]) -> None:
        assert not fits(cluster("a"))  # nobody is in sync
        engine.told.append(f"wait for {what[:32]}")

    for name in ("maintenance_on", "maintenance_off", "switchover"):
        monkeypatch.setattr(volume.operate, name, verb(name))
    monkeypatch.setattr(volume.operate, "wait_for", wait_for)
    monkeypatch.setattr(volume.snapshot, "take", lambda: cluster("a"))
    return engine


CHANGED = [
    "maintenance_on b",
    "exec b",
    "run holdfast-volume-b and the script",
    "ps",
    "maintenance_off b",
]


def test_a_volume_is_bounded_while_its_node_is_in_maintenance(engine: Docker) -> None:
    """PostgreSQL is stopped first; the node comes back afterwards."""
    volume.bound("b", engine)
    assert engine.told == CHANGED


@pytest.mark.parametrize("refuses", ["exec", "run"])
def test_a_node_comes_back_when_its_volume_cannot_be_changed(engine: Docker, refuses: str) -> None:
    """What is left of the helper is removed; why it failed is said, with the node's name."""
    engine.refuses, engine.left = refuses, "1234\n"
    with pytest.raises(StackError, match="the volume of b cannot be changed: not permitted"):
        volume.bound("b", engine)
    assert engine.told[-3:] == ["ps", "rm --force", "maintenance_off b"]


def test_a_node_on_its_real_volume_is_left_alone(engine: Docker) -> None:
    """Its container has been restarted, or it never was bounded."""
    engine.mounts = "overlay / overlay rw 0 0\n"
    volume.unbound("b", engine)
    assert engine.told == ["exec b"]


def test_a_standby_gets_its_volume_back(engine: Docker) -> None:
    """When there is another node in sync; there is nothing to hand over."""
    volume.unbound("b", engine)
    assert engine.told == ["exec b", "wait for a primary and a standby in sync,", *CHANGED]


def test_a_primary_hands_over_before_it_gets_its_volume_back(engine: Docker) -> None:
    """And the cluster is whole again before its node is stopped."""
    volume.unbound("a", engine)
    waits = "wait for a primary and a standby in sync,"
    assert engine.told[:4] == ["exec a", waits, "switchover", waits]
    assert engine.told[4] == "maintenance_on a"


def test_a_volume_is_filled_and_emptied_in_the_container() -> None:
    """What takes the room is one file."""
    commands: list[tuple[str, ...]] = []

    def docker(*arguments: str) -> str:
        commands.append(arguments)
        return ""

    volume.fill("b", docker)
    volume.make_room("b", docker)
    assert [each[:2] for each in commands] == [("exec", "b")] * 2
    assert volume.BALLAST in commands[0][-1]
    assert commands[1][-1] == volume.BALLAST
