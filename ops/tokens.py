"""The file of bearer tokens that the service reads: who has one, for what; never a token itself.

A line for each: a name, its scopes, the SHA-256 of the token in hex, and when it expires, if it
does (service/api/access.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ops import names
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE = "access_tokens"
FOLDER = "tokens"
PATH = f"{FOLDER}/{FILE}"
"""Where it is among the secrets. Containers have the folder: they see a file that replaces it."""

SCOPES = ("read", "write")
BYTES = 32
"""Of randomness in a token: what cannot be guessed needs no slow hash."""

PREFIX = "hf_"  # so that scanners for leaked secrets can find one
NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")
LINE = re.compile(
    rf"({NAME.pattern})\s+((?:read|write)(?:,(?:read|write))*)\s+([0-9a-f]{{64}})(?:\s+([0-9TZ:-]{{20}}))?"
)
MOMENT = "%Y-%m-%dT%H:%M:%SZ"
NEVER = "9999-12-31T23:59:59Z"
DAYS = re.compile(r"([0-9]{1,5}) ?d(?:ays?)?")


@dataclass(frozen=True)
class Grant:
    """One line of the file."""

    name: str
    scopes: str
    digest: str
    expires: str = ""  # a MOMENT; never, where there is none

    @property
    def expired(self) -> bool:
        """Whether it is good no more."""
        return bool(self.expires) and _moment(self.expires) <= datetime.now(UTC)


def of_stack() -> Path:
    """Return this stack's file."""
    return names.secrets(names.ROOT) / PATH


def grants(path: Path) -> list[Grant]:
    """Return what is in the file; nothing when there is none. Raises StackError."""
    found = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            found.append(_grant(path, number, line.strip()))
    return found


def _grant(path: Path, number: int, line: str) -> Grant:
    parts = LINE.fullmatch(line)
    if parts is None or not _is_moment(parts[4] or NEVER):
        raise StackError(
            f"{path}, line {number}: it is not a name, scopes, a digest and, if it expires, when "
            "(2027-01-31T00:00:00Z)"
        )
    return Grant(parts[1], parts[2], parts[3], parts[4] or "")


def complaint(path: Path) -> str:
    """Return what is wrong with the file, so that the service goes on with what it was before."""
    try:
        grants(path)
    except PermissionError:
        return ""  # not ours to read, so not ours to judge
    except (StackError, OSError, UnicodeError) as error:
        return str(error)
    return ""


def expiry(text: str) -> str:
    """Return the moment that `2027-01-31` (the end of that day, UTC) or `30d` stands for.

    Raises StackError where it is neither, or is over.
    """
    now = datetime.now(UTC)
    try:
        if days := DAYS.fullmatch(text.strip()):
            moment = now + timedelta(days=int(days[1]))
        else:
            moment = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
            moment += timedelta(days=1)
    except (ValueError, OverflowError):
        raise StackError(f"{text!r} must be a day, like 2027-01-31, or days, like 30d") from None
    if moment <= now:
        raise StackError(f"{text!r} is over: a token would be good for nothing")
    return moment.strftime(MOMENT)


def _is_moment(text: str) -> bool:
    try:
        _moment(text)
    except ValueError:
        return False
    return True


def _moment(text: str) -> datetime:
    return datetime.strptime(text, MOMENT).replace(tzinfo=UTC)


def add(path: Path, name: str, scopes: Iterable[str], expires: str = "") -> str:
    """Make a token, good until `expires` (of `expiry`), and return it: it is nowhere else then.

    Raises StackError.
    """
    wanted = [scope for scope in SCOPES if scope in set(scopes)]
    if not NAME.fullmatch(name):
        what = "up to 63 letters, digits, '.', '_' and '-'"
        raise StackError(f"{name!r} is no name for a token's holder, which has {what}")
    if not wanted or set(scopes) - set(SCOPES):
        raise StackError(f"a token's scopes are {' and '.join(SCOPES)}, one of them or both")
    there = grants(path)
    if any(each.name == name for each in there):
        raise StackError(f"{name} has a token already; `holdfast access remove {name}` ends it")
    token = PREFIX + secrets.token_urlsafe(BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    _write(path, [*there, Grant(name, ",".join(wanted), digest, expires)])
    return token


def remove(path: Path, name: str) -> None:
    """End a token; instances take notice within a second. Raises StackError."""
    there = grants(path)
    left = [each for each in there if each.name != name]
    if len(left) == len(there):
        known = ", ".join(each.name for each in there) or "nobody"
        raise StackError(f"{name} has no token; who has one: {known}")
    _write(path, left)


def _write(path: Path, there: Iterable[Grant]) -> None:
    """Replace the file in one step, so that nobody reads half of it."""
    lines = (f"{each.name} {each.scopes} {each.digest} {each.expires}" for each in there)
    text = "".join(f"{line.rstrip()}\n" for line in lines)
    path.parents[1].mkdir(mode=0o700, exist_ok=True)
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)  # in a folder that only its owner enters
    with new.open("rb") as written:
        os.fsync(written.fileno())
    new.replace(path)
