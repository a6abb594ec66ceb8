"""ops.secret_files: made once, kept from others, changed in place."""

from __future__ import annotations

import grp
import hashlib
import os
import stat
from base64 import b64decode
from pathlib import Path

import pytest

from ops import tokens
from ops.secret_files import CERTIFICATES, PASSWORDS, READERS, STATS, STATS_FILE, SecretFiles


@pytest.fixture
def files(tmp_path: Path) -> SecretFiles:
    """Secrets as the first `make up` makes them."""
    files = SecretFiles(tmp_path / "secrets")
    files.make()
    for ca in ("nodes", "edge"):
        (files.certificates / ca).mkdir()
    return files


def contents(files: SecretFiles) -> dict[str, str]:
    """Return what is in each file."""
    names = (*PASSWORDS, STATS, STATS_FILE, tokens.PATH)
    return {name: (files.folder / name).read_text() for name in names}


def test_made_once(files: SecretFiles) -> None:
    """Random, all of them; a second `up` keeps them."""
    first = contents(files)
    files.make()
    assert contents(files) == first
    passwords = {first[name] for name in (*PASSWORDS, STATS)}
    assert len(passwords) == len(PASSWORDS) + 1
    assert min(map(len, passwords)) >= 32


def test_kept_from_others(files: SecretFiles) -> None:
    """Nobody but the owner enters; for root, each file is its reader's alone."""
    assert stat.S_IMODE(files.folder.stat().st_mode) == 0o700
    if os.geteuid() == 0:
        for path in filter(Path.is_file, files.folder.iterdir()):
            status = path.stat()
            assert status.st_mode & 0o007 == 0, path
            assert status.st_gid in {0, READERS}, path
        assert READERS not in {each.gr_gid for each in grp.getgrall()}


@pytest.mark.parametrize("rotated", [False, True])
def test_the_digest_of_the_password_fits(files: SecretFiles, *, rotated: bool) -> None:
    """As nginx reads it: SHA-1 of password and salt, with the salt behind it."""
    if rotated:
        files.rotate(STATS)
    there = contents(files)
    scheme, _, encoded = there[STATS_FILE].strip().partition(":")[2].partition("}")
    assert scheme == "{SSHA"
    digest, salt = b64decode(encoded)[:20], b64decode(encoded)[20:]
    assert hashlib.sha1(there[STATS].encode() + salt, usedforsecurity=False).digest() == digest


def test_rotation_writes_in_place(files: SecretFiles) -> None:
    """The file that the containers have mounted, and in one piece: the length stays."""
    path = files.folder / "db_password"
    before, inode, digest = path.read_text(), path.stat().st_ino, files.digest()
    files.rotate("db_password")
    assert path.read_text() != before
    assert len(path.read_text()) == len(before)
    assert path.stat().st_ino == inode
    assert files.digest() == digest


def test_another_file_changes_the_digest(files: SecretFiles) -> None:
    """Then containers have to be made anew: what they have mounted is not there any more."""
    before = files.digest()
    path = files.folder / "db_password"
    replacement = files.folder / "new"
    replacement.write_text("another")
    replacement.rename(path)
    assert files.digest() != before


def test_tokens_of_versions_before_are_kept(files: SecretFiles) -> None:
    """They were in a file beside the passwords."""
    (files.folder / tokens.FILE).write_text("kept")
    files.make()
    assert (files.folder / tokens.PATH).read_text() == "kept"
    assert not (files.folder / tokens.FILE).exists()


def test_certificates_belong_to_their_maker(files: SecretFiles) -> None:
    """Also what root made before; a link that the maker left there leads root nowhere."""
    outside = files.folder.parent / "outside"
    outside.touch()
    (files.certificates / "link").symlink_to(outside)
    (files.certificates / "postgres1").mkdir(mode=0o550)  # as versions before renewal left it
    files.make()
    assert (files.certificates / "postgres1").stat().st_mode & 0o777 == 0o750
    user, group = map(int, files.certificates_user.split(":"))
    assert group == READERS
    if os.geteuid() == 0:
        assert user == CERTIFICATES
        assert (files.certificates / "nodes").stat().st_uid == CERTIFICATES
        assert outside.stat().st_uid == 0
    else:
        assert user == os.geteuid()


def test_removed(files: SecretFiles) -> None:
    """All of them, certificates included."""
    files.remove()
    assert list(files.folder.iterdir()) == []
