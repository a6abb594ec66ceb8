"""Which stack is meant, and what its parts are called: all of it follows from NAME.

Several stacks live on one engine and in one checkout, each with containers, volumes, networks,
secrets and settings of its own. Within a stack a member is called `postgres1` whatever the stack's
name: to the monitor, to HAProxy, to people. Its container's name is made here, and nowhere else.
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from ops.console import StackError

ROOT = Path(__file__).resolve().parents[1]
"""The checkout that this code is of."""

DEFAULT = "holdfast"
"""The stack that is meant when nothing is said. Its containers have no prefix."""

FORM = re.compile(r"[a-z](?:[a-z0-9-]{0,18}[a-z0-9])?")

COMPOSE = "deploy/compose"
"""Where compose.yaml is, from a checkout's root."""


def stack() -> str:
    """Return the stack's name; raise StackError where it is none. The host's own name is none."""
    name = os.environ.get("NAME") or DEFAULT
    if name.lower() == socket.gethostname().lower():  # as WSL sets it, for all that is run there
        return DEFAULT
    if not FORM.fullmatch(name):
        raise StackError(
            f"NAME is '{name}'; a stack's name has up to 20 characters of a to z, 0 to 9 and '-', "
            "begins with a letter and does not end with '-'. `NAME=` (empty) is the first stack."
        )
    return name


def is_default() -> bool:
    """Tell whether the first stack is meant, the one without a prefix."""
    return stack() == DEFAULT


def prefix() -> str:
    """Return what a container's name has in front of its member's: nothing, or `second-`."""
    return "" if is_default() else f"{stack()}-"


def container(member: str) -> str:
    """Return the container of a member, as Docker knows it."""
    return prefix() + member


def member(container: str) -> str:
    """Return whose container it is."""
    return container.removeprefix(prefix())


def network(name: str) -> str:
    """Return Docker's name of a network of compose.yaml."""
    return f"{stack()}_{name}"


def volume(member: str) -> str:
    """Return Docker's name of the volume that a member has its data on."""
    return f"{stack()}_{member.removeprefix('pg-')}"


def command(text: str) -> str:
    """Return a command as it has to be typed for this stack."""
    return text if is_default() else f"NAME={stack()} {text}"


def start(*members: str) -> str:
    """Return the command that starts these members' containers."""
    return f"docker start {' '.join(map(container, members))}"


def home(root: Path) -> Path:
    """Return where a checkout keeps what this stack is told: its settings and its secrets."""
    return root / COMPOSE if is_default() else others(root) / stack()


def others(root: Path) -> Path:
    """Return where a checkout keeps that of stacks with other names, a folder each."""
    return root / COMPOSE / "stacks"


def secrets(root: Path) -> Path:
    """Return the folder of this stack's secrets."""
    return home(root) / "secrets"


def state(root: Path) -> Path:
    """Return where logs of this stack's steps go."""
    top = root / ".holdfast"
    return top if is_default() else top / "stacks" / stack()
