"""The user that embedded processes run as, and files where that user can reach them.

PostgreSQL refuses to run as root, so root hands its processes to `nobody`. That user cannot
look below a directory like /root (mode 0700): binaries that live there are copied beside the
data, and data that would live there is put under /var/tmp, with a link to it left behind.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ops.embedded.processes import EmbeddedError

UNPRIVILEGED_USER = "nobody"  # exists on every Linux; initdb wants a user with a name
ELSEWHERE = Path("/var/tmp")  # noqa: S108 - owner and mode are checked in `reachable_directory`


class PopenArguments(TypedDict, total=False):
    """The part of subprocess.Popen's arguments that chooses a user."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """Whom processes run as. `switch` says that this is not who we are."""

    uid: int
    gid: int
    switch: bool

    @classmethod
    def unprivileged(cls) -> Account:
        """Ourselves, or `nobody` for root."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), switch=False)
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
        return cls(entry.pw_uid, entry.pw_gid, switch=True)

    def popen_arguments(self) -> PopenArguments:
        """Arguments that make a child run as this account."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def make_directory(self, path: Path) -> Path:
        """Create a directory that only this account can use (mode 0700, as PostgreSQL wants)."""
        path.mkdir(mode=0o700, exist_ok=True)
        self.own(path)
        return path

    def own(self, path: Path) -> None:
        """Give a file that we wrote to this account."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def can_reach(self, path: Path) -> bool:
        """Whether this account may pass every directory above `path`, and read `path` itself."""
        if not self.switch:
            return True
        path = path.resolve()
        return self._may(path, stat.S_IROTH) and all(
            self._may(parent, stat.S_IXOTH) for parent in path.parents
        )

    def _may(self, path: Path, bit_for_others: int) -> bool:
        status = path.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & (bit_for_others << 6))
        if status.st_gid == self.gid:
            return bool(status.st_mode & (bit_for_others << 3))
        return bool(status.st_mode & bit_for_others)


def reachable_directory(wanted: Path, account: Account) -> Path:
    """`wanted`, created; or a directory under /var/tmp where the account cannot reach that.

    The choice depends on the path alone, so a later run finds its data again. A link named
    `elsewhere` in `wanted` points at it. Raises EmbeddedError if somebody else owns it.
    """
    wanted.mkdir(parents=True, exist_ok=True)
    wanted = wanted.resolve()
    if account.switch and account.can_reach(wanted.parent) and wanted.stat().st_uid == os.geteuid():
        wanted.chmod(wanted.stat().st_mode | 0o055)  # as mkdtemp makes it; the data stay closed
    if account.can_reach(wanted):
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
    place = ELSEWHERE / f"holdfast-{digest}"
    place.mkdir(exist_ok=True)
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise EmbeddedError(f"{place} is not a directory of ours: remove it and start again")
    place.chmod(0o755)
    link = wanted / "elsewhere"
    link.unlink(missing_ok=True)
    link.symlink_to(place)
    return place


def reachable_copy(source: Path, directory: Path, account: Account) -> Path:
    """`source` itself, or a copy of that folder in `directory` where the account needs one.

    A wheel may have put shared libraries beside the package, in PACKAGE.libs, where programs look
    for them from their own place: that folder goes along.
    """
    if account.can_reach(source):
        return source
    package, runtime = source.parent, directory / "runtime"
    copy = runtime / package.name / source.name
    libraries = package.with_name(f"{package.name}.libs")
    _copy_open(source, copy)
    if libraries.is_dir():
        _copy_open(libraries, runtime / libraries.name)
    for path in (runtime, copy.parent):
        path.chmod(path.stat().st_mode | _open_to_others(path))
    return copy


def _copy_open(source: Path, copy: Path) -> None:
    """Copy a folder for everybody to read."""
    shutil.rmtree(copy, ignore_errors=True)  # a copy of another version, or half of one
    shutil.copytree(source, copy, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | _open_to_others(path))


def _open_to_others(path: Path) -> int:
    """Choose the mode bits that let others read a file, run a program and pass a directory."""
    executable = path.is_dir() or bool(path.stat().st_mode & stat.S_IXUSR)
    return stat.S_IROTH | (stat.S_IXOTH if executable else 0)
