"""ops.tokens: what is in the file of bearer tokens, and what is not."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from ops import tokens
from ops.console import StackError
from service.api.access import Right, parse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that is not there yet, in a folder that is not either."""
    return tmp_path / "secrets" / tokens.PATH


def test_the_service_understands_what_is_written(file: Path) -> None:
    """The two halves share no code, only the format: both are asked."""
    token = tokens.add(file, "ci", ["write", "read"])
    [holder] = parse(file.read_text())
    assert holder.name == "ci"
    assert holder.rights == {Right.READ, Right.WRITE}
    assert holder.digest == hashlib.sha256(token.encode()).digest()


def test_a_token_is_kept_nowhere(file: Path) -> None:
    """And no two are equal."""
    made = {tokens.add(file, name, ["read"]) for name in ("a", "b", "c")}
    assert len(made) == 3
    assert not any(token in file.read_text() for token in made)


def test_the_file_is_replaced_in_one_step(file: Path) -> None:
    """Whoever reads has all of the old one or all of the new one; nothing else is left."""
    tokens.add(file, "first", ["read"])
    with file.open() as reader:
        tokens.add(file, "second", ["read"])
        tokens.remove(file, "first")
        assert reader.read().startswith("first ")
    assert [grant.name for grant in tokens.grants(file)] == ["second"]
    assert list(file.parent.iterdir()) == [file]


def test_the_folder_keeps_others_out(file: Path) -> None:
    """As `make up` does, which may not have run yet."""
    tokens.add(file, "ci", ["read"])
    assert file.parents[1].stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "scopes", "says"),
    [
        ("", ["read"], "no name"),
        ("two words", ["read"], "no name"),
        ("x" * 64, ["read"], "no name"),
        ("ci", [], "scopes are read and write"),
        ("ci", ["admin"], "scopes are read and write"),
        ("ci", ["read", "admin"], "scopes are read and write"),
        ("there", ["read"], "has a token already"),
    ],
)
def test_what_cannot_be_granted(file: Path, name: str, scopes: list[str], says: str) -> None:
    """A sentence, and the file as it was."""
    tokens.add(file, "there", ["read"])
    before = file.read_text()
    with pytest.raises(StackError, match=says):
        tokens.add(file, name, scopes)
    assert file.read_text() == before


def test_ending_what_is_not_there(file: Path) -> None:
    """It says who has one."""
    tokens.add(file, "ci", ["read"])
    with pytest.raises(StackError, match="who has one: ci"):
        tokens.remove(file, "cd")


def test_a_damaged_file_is_named(file: Path) -> None:
    """Rather than written anew without what could not be read."""
    tokens.add(file, "ci", ["read"])
    file.write_text(file.read_text() + "cd read\n")
    with pytest.raises(StackError, match="line 2"):
        tokens.add(file, "ce", ["read"])
