"""The file of bearer tokens that the service reads: who has one, for what; never a token itself.

A line for each: a name, its scopes, and the SHA-256 of the token in hex (service/api/access.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

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


@dataclass(frozen=True)
class Grant:
    """One line of the file."""

    name: str
    scopes: str
    digest: str


def grants(path: Path) -> list[Grant]:
    """Return what is in the file; nothing when there is none. Raises StackError."""
    found = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            parts = line.split()
            if len(parts) != len(Grant.__dataclass_fields__):
                raise StackError(f"{path}, line {number}: it is not a name, scopes and a digest")
            found.append(Grant(*parts))
    return found


def add(path: Path, name: str, scopes: Iterable[str]) -> str:
    """Make a token, and return it: it is nowhere else afterwards. Raises StackError."""
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
    _write(path, [*there, Grant(name, ",".join(wanted), digest)])
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
    text = "".join(f"{each.name} {each.scopes} {each.digest}\n" for each in there)
    path.parents[1].mkdir(mode=0o700, exist_ok=True)
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)  # in a folder that only its owner enters
    with new.open("rb") as written:
        os.fsync(written.fileno())
    new.replace(path)
