"""ops.tokens: what is in the file of bearer tokens, and what is not."""

from __future__ import annotations

import hashlib
import math
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ops import tokens
from ops.console import StackError
from service.api.access import Right, TokensError, parse

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


LINES = {
    f"ci read {'a' * 64}": True,
    f"ci read,write {'a' * 64} 2027-01-31T00:00:00Z": True,
    f"  ci\tread   {'a' * 64}  ": True,
    "# a remark": True,
    "": True,
    f"ci read {'a' * 63}": False,
    f"ci read {'A' * 64}": False,
    f"ci admin {'a' * 64}": False,
    f"ci read,, {'a' * 64}": False,
    f"c/i read {'a' * 64}": False,
    f"ci read {'a' * 64} 2027-01-31": False,
    f"ci read {'a' * 64} 2027-02-31T00:00:00Z": False,
    f"ci read {'a' * 64} 2027-01-31T00:00:00Z more": False,
}


@pytest.mark.parametrize(("line", "good"), LINES.items())
def test_both_halves_call_the_same_lines_wrong(file: Path, line: str, *, good: bool) -> None:
    """`status` says what the service only logs: that it goes on with what was there before."""
    file.parent.mkdir(parents=True)
    file.write_text(f"{line}\n")
    assert (tokens.complaint(file) == "") is good
    try:
        parse(file.read_text())
    except TokensError:
        assert not good
    else:
        assert good


def test_no_file_is_no_complaint(file: Path) -> None:
    """Nobody has a token then."""
    assert tokens.complaint(file) == ""


def test_a_token_that_expires(file: Path) -> None:
    """The service reads the moment that was written; who has one is shown with it."""
    tokens.add(file, "ci", ["read"], tokens.expiry("30d"))
    tokens.add(file, "cd", ["read"])
    first, second = parse(file.read_text())
    month = timedelta(days=30).total_seconds()
    assert 0 <= time.time() + month - first.expires < 60
    assert second.expires == math.inf
    assert [grant.expired for grant in tokens.grants(file)] == [False, False]
    file.write_text(f"ci read {'a' * 64} 2001-01-01T00:00:00Z\n")
    assert [grant.expired for grant in tokens.grants(file)] == [True]


def test_the_last_day_counts() -> None:
    """All of it, in UTC."""
    assert tokens.expiry("2099-01-31") == "2099-02-01T00:00:00Z"


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "31.01.2027", "-3d", "0d", "2001-01-01"])
def test_a_bad_end_is_refused(text: str) -> None:
    """It says what would do, or that it is over."""
    with pytest.raises(StackError, match=r"must be a day|is over"):
        tokens.expiry(text)
