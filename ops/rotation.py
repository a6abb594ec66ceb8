"""Passwords of a running stack, changed one after another; nobody's request fails for it.

Each file is written in place. The primary (the monitor, for its own) sets what it finds there, and
those who log in read the file each time; a login that falls between the two is tried again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ops import cluster, operate
from ops.console import StackError
from ops.secret_files import PASSWORDS, STATS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ops.secret_files import SecretFiles

SET_LIMIT = 60.0
"""Seconds for a new password to be set where it is checked: a failover may come in between."""

POLL = 0.2

MONITORS = "autoctl_node"
"""The one role that the monitor has, not the data nodes."""


def rotate(files: SecretFiles, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Change the passwords in these files, all if none is named. Raises StackError."""
    there_are = (*PASSWORDS, STATS)
    unknown = sorted(set(names) - set(there_are))
    if unknown:
        raise StackError(f"there is no secret {unknown[0]}; there are {', '.join(there_are)}")
    operate.await_whole()
    for name in names or there_are:
        if name == STATS:
            files.rotate(name)
            say(f"{name:<22} changed: statistics and metrics ask for the new one")
            continue
        role = PASSWORDS[name]
        before = _verifier(role)
        if not before:
            raise StackError(f"{name} stays as it is: nobody could be asked for {role}'s")
        files.rotate(name)
        _await_another(role, before)
        say(f"{name:<22} changed, and set for {role}")
    operate.await_whole()


def _await_another(role: str, before: str) -> None:
    deadline = time.monotonic() + SET_LIMIT
    while (now := _verifier(role)) in {before, ""}:
        if time.monotonic() > deadline:
            told = "the old one" if now else "no primary tells"
            what = f"the new password of {role} was not set within {SET_LIMIT:.0f} s ({told})"
            raise StackError(f"{what}; `holdfast status` shows why. It is set once all is well.")
        time.sleep(POLL)


def _verifier(role: str) -> str:
    """Return what the server compares a role's password with; nothing when it cannot be asked."""
    node = cluster.MONITOR if role == MONITORS else cluster.find_primary()
    query = f"SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"  # noqa: S608 - our own
    return cluster.ask(node, "psql", "-d", "postgres", "-qAt", "-c", query).strip() if node else ""
