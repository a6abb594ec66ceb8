"""The stack's secrets: random files, made at the first `make up`, readable by their owner alone.

Containers have them mounted as Compose secrets, which means by inode. Whoever changes a password
writes it in place; certificates and tokens are in folders, so that they can be replaced in one
step. Containers take either up within seconds. A file or folder that is another one, as another
checkout's is, makes `make up` recreate its containers (`digest`).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING

from ops import tokens

if TYPE_CHECKING:
    from collections.abc import Iterable
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

CIPHER = "backup_cipher"
"""What the repository of backups is encrypted with, as long as there is one."""

AUTHORITIES = tuple(
    f"tls/{path}" for ca in ("nodes", "edge") for path in (f"keys/{ca}.key", f"{ca}/ca.crt")
)
"""The two CAs' keys and certificates. All other certificates are made with them."""

S3_SECRET = "backup_s3_secret"  # noqa: S105 - a file's name
S3_CA = "backup_s3_ca"
S3_FILES = (S3_SECRET, S3_CA)
"""Of a repository in S3 (ops/s3.py): the access key's secret, and the CAs of its endpoint. Empty
where there is none."""

ALERT_WEBHOOK = "alert_webhook"
ALERT_HEARTBEAT = "alert_heartbeat"
ALERT_SMTP_PASSWORD = "alert_smtp_secret"  # noqa: S105 - a file's name
ALERT_CA = "alert_ca"
ALERT_FILES = (ALERT_WEBHOOK, ALERT_HEARTBEAT, ALERT_SMTP_PASSWORD, ALERT_CA)
"""Whom Alertmanager tells, and who vouches for them (ops/alerts.py). Empty where nobody is told."""

GIVEN = (*S3_FILES, *ALERT_FILES)
"""What is not made, but said by whoever has it."""

STATS = "stats_password"
STATS_USER = "holdfast"
STATS_FILE = "stats_users"
"""What nginx compares the password with."""

MOUNTED = (*PASSWORDS, CIPHER, STATS, STATS_FILE, tokens.FOLDER, "tls", "tls/nodes", "tls/edge")
"""What several containers have; what is GIVEN is mounted by one, which has a digest of its own."""

RANDOM_BYTES = 24

READERS = 471100
"""The group of every process in a container that reads a secret (compose.yaml, `group_add`), and of
nobody on the host."""

CERTIFICATES = 471106
"""The user of the container that makes certificates, where it may be another one than ours."""


class SecretFiles:
    """The folder of secrets."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made yet."""
        self.folder = folder
        self.certificates = folder / "tls"

    @property
    def exist(self) -> bool:
        """Whether they have been made: where one is, the others are."""
        return (self.folder / "db_password").exists()

    def make(self) -> None:
        """Make what is missing; what is there stays."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.folder.chmod(0o700)
        for name in (*PASSWORDS, CIPHER, *GIVEN):
            path = self.folder / name
            if not path.exists():
                path.write_text("" if name in GIVEN else secrets.token_urlsafe(RANDOM_BYTES))
            _hand_over(path)
        self._make_stats_password()
        self._make_tokens()
        self._make_certificates_folder()

    def _make_stats_password(self) -> None:
        """Make the password, for us and `monitoring`, and the file with its digest, for nginx."""
        path = self.folder / STATS
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(RANDOM_BYTES))
        _hand_over(path)
        users = self.folder / STATS_FILE
        if not users.exists():
            users.write_bytes(_user_line(path.read_bytes()))
        _hand_over(users)

    def _make_tokens(self) -> None:
        """Make the folder of tokens; versions before had the file alone."""
        file, before = self.folder / tokens.PATH, self.folder / tokens.FILE
        file.parent.mkdir(exist_ok=True)
        if before.is_file():
            before.replace(file)
        file.touch()
        _hand_over(file)
        _hand_over(file.parent)

    def _make_certificates_folder(self) -> None:
        """Make it, and all that is there, belong to who writes in it (`certificates_user`)."""
        self.certificates.mkdir(mode=0o700, exist_ok=True)
        for path in (self.certificates, *self.certificates.rglob("*")):
            with suppress(FileNotFoundError):  # one that is just replacing another
                if os.geteuid() == 0:
                    os.chown(path, CERTIFICATES, READERS, follow_symlinks=False)
                if path.is_dir() and not path.is_symlink():  # earlier versions made them read-only
                    path.chmod(path.stat().st_mode | 0o700)

    @property
    def certificates_user(self) -> str:
        """The user and group that make certificates in a container, as Docker wants them.

        Only root can give files away: otherwise they stay ours. The group may read them.
        """
        return f"{os.geteuid() or CERTIFICATES}:{READERS}"

    def rotate(self, name: str) -> None:
        """Write another password."""
        new = secrets.token_urlsafe(RANDOM_BYTES).encode()
        _overwrite(self.folder / name, new)
        if name == STATS:
            _overwrite(self.folder / STATS_FILE, _user_line(new))

    def read(self, name: str) -> str:
        """Return what is in a file; nothing where there is none."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def put(self, name: str, content: str) -> None:
        """Have a file say this: by another file, so that its container is made anew (`digest`)."""
        path = self.folder / name
        if self.read(name) != content:
            new = path.with_name(f"{name}.new")
            new.touch(mode=0o600)
            new.write_text(content)
            _hand_over(new)
            new.replace(path)

    def digest(self, names: Iterable[str] = MOUNTED) -> str:
        """Return what tells the files that are mounted from others; nothing of what is in them."""
        together = hashlib.sha256()
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
