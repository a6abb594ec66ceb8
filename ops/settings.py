"""The stack's settings: from the environment, else as they were set the last time.

`make up` keeps what it was told in deploy/compose/.env, which Compose reads too: `ACCESS=writes
make up` closes writes until somebody opens them again, not until the next plain `make up`. What
makes the stack less closed than it was is asked.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from ops.console import StackError, say

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path

BITS = 24
"""Of a network's prefix: fixed addresses are told apart by their last number."""

FILE = "deploy/compose/.env"

CLOSED = {
    "ACCESS": ("open", "writes", "all"),
    "BIND_ADDRESS": ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - the most open value, to be asked for
    "EDGE_REDIRECT": ("no", "yes"),
}
"""Settings that open or close the stack, the most open value first."""

DEFAULTS = {"ACCESS": "open", "BIND_ADDRESS": "127.0.0.1", "EDGE_REDIRECT": "no"}

PORTS = {
    "HTTP_PORT": 8080,
    "HTTPS_PORT": 8443,
    "STATS_PORT": 8404,
    "WRITE_PORT": 6432,
    "READ_PORT": 6433,
}
"""Ports of the host, and what each is when nothing is set."""

SUBNETS = {"EDGE_SUBNET": "172.30.0.0/24", "DATABASE_SUBNET": "172.30.1.0/24"}
"""The stack's two networks, and where they are when nothing is set."""

NUMBERS = {
    "AUDIT_RETENTION": (
        (range(1), range(30, 36_501)),
        "a number of days, 30 to 36500; 0: for ever",
    ),
    "APP_LOG_FILES": ((range(2, 1001),), "a number of files, 2 to 1000"),
}
"""Settings that are numbers: which ones, and the same in words."""

NAMES = (
    *("PROFILE", "NODES", "ACCESS", "BIND_ADDRESS", "CORS_ORIGINS", "EDGE_REDIRECT", "EDGE_NAMES"),
    *("REQUEST_DEADLINE", "HEALTH_GRACE", "SHUTDOWN_TIMEOUT", "RATE_LIMIT", "VOLUME_RESERVE"),
    *("LOG_LEVEL", "CERTIFICATE_SECONDS", "POSTGRES_MEMORY", "SLOT_WAL_MOST", "AUDIT_RETENTION"),
    *("APP_LOG_FILES", *PORTS, *SUBNETS),
)
"""What is kept. deploy/compose/README.md says what each means."""


@dataclass(frozen=True)
class Loosened:
    """A setting that would be more open than it was."""

    name: str
    before: str
    now: str


def read(root: Path) -> dict[str, str]:
    """Return what is kept; nothing when there is no file."""
    file = root / FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def adopt(root: Path, names: Container[str] = NAMES) -> None:
    """Put what is kept into this process's environment, where it does not say otherwise."""
    for name, value in read(root).items():
        if name in names:
            os.environ.setdefault(name, value)


def port(name: str) -> int:
    """Return a port of the host; raise StackError where it is no number of a port."""
    value = os.environ.get(name) or str(PORTS[name])
    if not value.isdecimal() or not 0 < int(value) < 2**16:
        raise StackError(f"{name} is '{value}'; it must be a port, 1 to 65535")
    return int(value)


def check_numbers() -> None:
    """Raise StackError that names a setting which is none of its numbers."""
    for name, (ranges, words) in NUMBERS.items():
        value = os.environ.get(name)
        number = int(value) if value and value.isdecimal() else -1
        if value and not any(number in each for each in ranges):
            raise StackError(f"{name} is '{value}'; it must be {words}")


def subnet(name: str) -> IPv4Network:
    """Return where a network of the stack is; raise StackError where that cannot be."""
    value = os.environ.get(name) or SUBNETS[name]
    try:
        network = IPv4Network(value)
    except ValueError as error:
        raise StackError(
            f"{name} is '{value}'; it must be like {SUBNETS[name]} ({error})"
        ) from None
    if network.prefixlen != BITS:
        raise StackError(f"{name} is '{value}'; it must be a /{BITS}, like {SUBNETS[name]}")
    return network


def prefix(name: str) -> str:
    """Return what all addresses of a network begin with, for Compose: three numbers of four."""
    return str(subnet(name).network_address).rpartition(".")[0]


def loosened(kept: Mapping[str, str], now: Mapping[str, str]) -> list[Loosened]:
    """Return what is more open now than it was kept."""
    found = []
    for name, values in CLOSED.items():
        before, after = (each.get(name) or DEFAULTS[name] for each in (kept, now))
        if {before, after} <= set(values) and values.index(after) < values.index(before):
            found.append(Loosened(name, before, after))
    return found


def confirm(changes: list[Loosened]) -> None:
    """Ask whether to open what was closed; raise StackError unless the answer is yes.

    `YES=1` in the environment is the answer of who cannot be asked.
    """
    if not changes:
        return
    told = ", ".join(f"{one.name} from {one.before} to {one.now}" for one in changes)
    if os.environ.get("YES") == "1":
        say(f"  ! opened: {told} (YES=1)")
        return
    if sys.stdin.isatty() and input(f"This opens the stack: {told}. Go on? [y/N] ") in {"y", "Y"}:
        return
    raise StackError(f"This would open the stack: {told}. Say so with YES=1, or leave it out.")


def keep(root: Path, now: Mapping[str, str]) -> None:
    """Write what is set now to the file; its other lines stay as they are."""
    file = root / FILE
    kept = read(root)
    changed = {name: now[name] for name in NAMES if now.get(name, "") != kept.get(name, "")}
    if not changed:
        return
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    stay = [line for line in lines if line.split("=", 1)[0].strip() not in changed]
    new = [f"{name}={value}" for name, value in changed.items() if value]
    file.write_text("\n".join([*stay, *new]) + "\n", encoding="utf-8")
