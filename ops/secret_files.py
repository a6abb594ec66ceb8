"""The stack's secrets: random files, made at the first `make up`, readable by their owner alone.

Containers have them mounted as Compose secrets, which means by inode: whoever changes one writes it
in place, and the containers take it up within seconds. One that is replaced by another file, or
that is another checkout's, makes `make up` recreate its containers (`digest`).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from base64 import b64encode
from typing import TYPE_CHECKING

from ops import tokens

if TYPE_CHECKING:
    from pathlib import Path

PASSWORDS = {
    "autoctl_node_password": "autoctl_node",
    "replication_password": "pgautofailover_replicator",
    "owner_password": "holdfast_owner",
    "db_password": "holdfast_app",
    "read_password": "holdfast_read",
    "monitoring_password": "holdfast_monitoring",
}
"""Files, and the role whose password each has."""

STATS = "stats_password"
STATS_USER = "holdfast"
STATS_FILE = "stats_users"
"""What nginx compares the password with."""

RANDOM_BYTES = 24

READERS = 471100
"""The group of every process in a container that reads a secret (compose.yaml, `group_add`), and of
nobody on the host."""


class SecretFiles:
    """The folder of secrets."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made yet."""
        self.folder = folder
        self.certificates = folder / "tls"

    def make(self) -> None:
        """Make what is missing; what is there stays."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        for name in PASSWORDS:
            path = self.folder / name
            if not path.exists():
                path.write_text(secrets.token_urlsafe(RANDOM_BYTES))
            _hand_over(path)
        self._make_stats_password()
        self.certificates.mkdir(mode=0o700, exist_ok=True)
        digests = self.folder / tokens.FILE
        digests.touch()
        _hand_over(digests)

    def _make_stats_password(self) -> None:
        """Make the password, for us, and the file with its digest, for nginx."""
        path = self.folder / STATS
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(RANDOM_BYTES))
        users = self.folder / STATS_FILE
        if not users.exists():
            users.write_bytes(_user_line(path.read_bytes()))
        _hand_over(users)

    def hand_over_certificates(self) -> None:
        """Let the containers read theirs. The CA's key is nobody's but ours."""
        _hand_over(self.certificates / "ca.crt")
        for member in self.certificates.iterdir():
            if member.is_dir():
                for path in (member, *member.iterdir()):
                    _hand_over(path)

    def rotate(self, name: str) -> None:
        """Write another password."""
        new = secrets.token_urlsafe(RANDOM_BYTES).encode()
        _overwrite(self.folder / name, new)
        if name == STATS:
            _overwrite(self.folder / STATS_FILE, _user_line(new))

    def digest(self) -> str:
        """Return what tells the files that are mounted from others; nothing of what is in them."""
        together = hashlib.sha256()
        names = (*PASSWORDS, STATS_FILE, tokens.FILE, "tls", "tls/ca.crt")
        for path in (self.folder / name for name in names):
            together.update(f"{path.resolve()} {path.stat().st_ino}\n".encode())
        return together.hexdigest()[:12]

    def remove(self) -> None:
        """Remove them all."""
        for path in self.folder.glob("*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _user_line(password: bytes) -> bytes:
    """Return the line by which nginx knows the one who may see statistics."""
    # 192 random bits: a fast hash is enough. The only one of nginx's own with a salt.
    salt = secrets.token_bytes(8)
    digest = hashlib.sha1(password + salt, usedforsecurity=False).digest()
    return f"{STATS_USER}:{{SSHA}}{b64encode(digest + salt).decode()}\n".encode()


def _overwrite(path: Path, new: bytes) -> None:
    """Write a file in place and in one piece, as what it had is as long."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, new, 0)
        os.ftruncate(descriptor, len(new))
    finally:
        os.close(descriptor)


def _hand_over(path: Path) -> None:
    """Make a file or folder readable for the containers' group, as far as possible for it alone.

    Only root can give a file to a group of its own. Otherwise the folder above, which nobody else
    may enter, keeps others out.
    """
    folder = path.is_dir()
    if os.geteuid() == 0:
        os.chown(path, 0, READERS)
        path.chmod(0o550 if folder else 0o440)
    else:
        path.chmod(0o755 if folder else 0o644)
