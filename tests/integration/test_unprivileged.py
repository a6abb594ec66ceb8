"""Whom embedded processes run as, and where that user can go."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ops.embedded import EmbeddedError, scratch_directory
from ops.embedded.unprivileged import Account, reachable_copy, reachable_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STRANGER = Account(uid=54321, gid=54321, switch=True)


@pytest.fixture
def tree() -> Iterator[Path]:
    """Make a directory that everybody may pass, with a program in it."""
    with scratch_directory() as directory:
        (directory / "bin").mkdir()
        program = directory / "bin" / "program"
        program.touch()
        program.chmod(0o755)
        yield directory


def test_never_root() -> None:
    """Processes run as a user other than root, and switch only if we are root."""
    account = Account.unprivileged()
    assert account.uid != 0
    assert account.switch == (os.geteuid() == 0)
    assert bool(account.popen_arguments()) == account.switch


def test_open_tree_is_reachable(tree: Path) -> None:
    """What everybody may read is used where it is."""
    assert STRANGER.can_reach(tree / "bin")
    assert reachable_copy(tree / "bin", tree, STRANGER) == tree / "bin"
    assert reachable_directory(tree / "data", STRANGER) == tree / "data"


def test_closed_parent_is_noticed(tree: Path) -> None:
    """One directory on the way that others may not pass is enough."""
    tree.chmod(0o700)
    assert not STRANGER.can_reach(tree / "bin")
    owner = Account(uid=os.geteuid(), gid=os.getegid(), switch=False)
    assert owner.can_reach(tree / "bin")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands its directories to others")
def test_closed_directory_is_opened(tree: Path) -> None:
    """A temporary directory of root's own, in an open place, is used where it is."""
    (tree / "data").mkdir(mode=0o700)
    assert reachable_directory(tree / "data", STRANGER) == tree / "data"
    assert STRANGER.can_reach(tree / "data")


def test_copy_is_open_to_others(tree: Path) -> None:
    """A copy can be read and run by others, whatever the original's modes."""
    (tree / "bin").chmod(0o700)
    (tree / "bin" / "program").chmod(0o700)
    copy = reachable_copy(tree / "bin", tree / "open", STRANGER)
    assert copy != tree / "bin"
    assert (copy / "program").stat().st_mode & 0o005 == 0o005
    assert copy.stat().st_mode & 0o005 == 0o005


def test_directory_elsewhere_is_ours(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data goes elsewhere, to the same place each time, and never through somebody's link."""
    monkeypatch.setattr("ops.embedded.unprivileged.ELSEWHERE", tree)
    (tree / "closed").mkdir(mode=0o700)
    place = reachable_directory(tree / "closed" / "dev", STRANGER)
    assert place.parent == tree
    assert reachable_directory(tree / "closed" / "dev", STRANGER) == place
    place.rmdir()
    place.symlink_to(tree / "bin")
    with pytest.raises(EmbeddedError, match="not a directory of ours"):
        reachable_directory(tree / "closed" / "dev", STRANGER)
