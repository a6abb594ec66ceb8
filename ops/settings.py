"""The stack's settings: from the environment, else as they were set the last time.

`make up` keeps what it was told in deploy/compose/.env, of a stack with another NAME in a folder of
its own: `ACCESS=writes make up` closes writes until somebody opens them again, not until the next
plain `make up`. What makes the stack less closed than it was is asked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from ops import alerts, names, s3
from ops.console import StackError, agree
from ops.timing import DEADLINES

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from pathlib import Path

BITS = 24
"""Of a network's prefix: fixed addresses are told apart by their last number."""

CLOSED = {
    "ACCESS": ("open", "writes", "all"),
    "EDGE_REDIRECT": ("no", "yes"),
}
"""Settings that open or close the stack, the most open value first. BIND_ADDRESS does so, too."""

LOOPBACK = 2
"""The rank of an address that only this host reaches: see `_reach`."""

DEFAULTS = {"ACCESS": "open", "BIND_ADDRESS": "127.0.0.1", "EDGE_REDIRECT": "no"}

PORTS = {
    "HTTP_PORT": 8080,
    "HTTPS_PORT": 8443,
    "STATS_PORT": 8404,
    "WRITE_PORT": 6432,
    "READ_PORT": 6433,
}
"""Ports of the host, and what each is when nothing is set."""

WATCHED_PORTS = {"PROMETHEUS_PORT": 9090, "ALERTMANAGER_PORT": 9093}
"""The same of what is there with MONITORING=yes, on loopback alone."""

ALL_PORTS = PORTS | WATCHED_PORTS

SUBNETS = {"EDGE_SUBNET": "172.30.0.0/24", "DATABASE_SUBNET": "172.30.1.0/24"}
"""The stack's two networks, and where they are when nothing is set."""

NUMBERS = {
    "AUDIT_RETENTION": (
        (range(1), range(30, 36_501)),
        "a number of days, 30 to 36500; 0: for ever",
    ),
    "APP_LOG_FILES": ((range(2, 1001),), "a number of files, 2 to 1000"),
    # As many as an app's pools have connections (service/settings.py): each worker needs one.
    "WORKERS": ((range(1, 11),), "a number of processes, 1 to 10"),
    "CERTIFICATE_SECONDS": ((range(30, 10**9),), "a number of seconds, 30 or more"),
    "CA_SECONDS": ((range(90, 10**9),), "a number of seconds, 90 or more"),
    "RATE_LIMIT": ((range(10**6),), "a number of requests a second; 0: no rate"),
    "BACKUP_FULL_DAYS": ((range(1, 366),), "a number of days, 1 to 365"),
    "BACKUP_DIFF_HOURS": ((range(1, 8761),), "a number of hours, 1 to 8760"),
    "BACKUP_KEEP": ((range(1, 1000),), "a number of full backups, 1 to 999"),
}
"""Settings that are numbers: which ones, and the same in words."""

CHOICES = {
    "PROFILE": tuple(DEADLINES),
    "NODES": ("2", "3"),
    "ACCESS": CLOSED["ACCESS"],
    "BACKUP": ("no", "yes"),
    "MONITORING": ("no", "yes"),
    "REPLICATION": ("sync", "async", "remote_apply"),
    "LOCAL_DURABILITY": ("no", "yes"),
    "PG_MAJOR": ("17", "18"),
    "POOLER": ("no", "yes"),
}
"""Settings that have one of a few values."""

COMPOSE_PROFILES = {
    "three-nodes": ("NODES", "3", "2"),
    "backup": ("BACKUP", "yes", "yes"),
    "monitoring": ("MONITORING", "yes", "no"),
}
"""What compose.yaml has only with a setting: which one, its value then, its value by default."""

PRIORITY, PRIORITY_MOST = 50, 100
"""A node's candidate priority where nothing is said, and the highest (pg_auto_failover)."""

POOLED = {"NODE_PORT": "6432", "NODE_PLACES": "2000", "NODE_GUEST_PLACES": "400"}
"""Where clients are sent to with POOLER=yes; compose.yaml says it of PostgreSQL itself.

Both ports of a proxy together pass on as many as PgBouncer takes (deploy/postgres/pgbouncer.ini).
"""

OF_THE_MACHINE = ("BIND_ADDRESS", *ALL_PORTS, *SUBNETS)
"""Settings that another machine may have no place for: an export's are told there, not taken."""

NAMES = (
    *("PROFILE", "NODES", "ACCESS", "BIND_ADDRESS", "CORS_ORIGINS", "EDGE_REDIRECT", "EDGE_NAMES"),
    *("REQUEST_DEADLINE", "HEALTH_GRACE", "SHUTDOWN_TIMEOUT", "RATE_LIMIT", "VOLUME_RESERVE"),
    *("LOG_LEVEL", "CERTIFICATE_SECONDS", "CA_SECONDS", "POSTGRES_MEMORY", "SLOT_WAL_MOST"),
    *("AUDIT_RETENTION", "APP_LOG_FILES", "WORKERS", *ALL_PORTS, *SUBNETS),
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    *("BACKUP", "BACKUP_FULL_DAYS", "BACKUP_DIFF_HOURS", "BACKUP_KEEP", *s3.SETTINGS),
    *("MONITORING", *alerts.SETTINGS),
    *("REPLICATION", "LOCAL_DURABILITY", "CANDIDATE_PRIORITIES", "WITHOUT_QUORUM"),
    "PG_MAJOR",
    "POOLER",
)
"""What is kept. deploy/compose/README.md says what each means."""

MAJOR, MAJOR_DEFAULT = "PG_MAJOR", "17"
"""PostgreSQL's major release where nothing is said (deploy/compose/compose.yaml)."""

RETENTION, RETENTION_DAYS = "AUDIT_RETENTION", 400
"""Days that the audit is kept where nothing is said (deploy/compose/compose.yaml); 0: for ever."""


@dataclass(frozen=True)
class Loosened:
    """A setting that would be more open than it was."""

    name: str
    before: str
    now: str


def compose_profiles(environment: Mapping[str, str]) -> str:
    """Return what is there on demand with these settings, as Compose takes it."""
    wanted = COMPOSE_PROFILES.items()
    return ",".join(
        each
        for each, (name, value, default) in wanted
        if (environment.get(name) or default) == value
    )


def has_backups(environment: Mapping[str, str]) -> bool:
    """Tell whether a stack with these settings has a repository of backups."""
    return (environment.get("BACKUP") or "yes") == "yes"


def has_three_nodes(environment: Mapping[str, str]) -> bool:
    """Tell whether a stack with these settings has a third data node."""
    return environment.get("NODES") == "3"


def candidate_priorities(environment: Mapping[str, str]) -> dict[str, int]:
    """Return what CANDIDATE_PRIORITIES says, by node; raise StackError where it cannot be."""
    value = environment.get("CANDIDATE_PRIORITIES") or ""
    found = {}
    for each in _words(value):
        node, _, number = each.partition("=")
        if not number.isdecimal() or int(number) > PRIORITY_MOST:
            raise StackError(
                f"CANDIDATE_PRIORITIES is '{value}'; it must be like postgres2=100,postgres3=0: "
                f"numbers of 0 (never leads) to {PRIORITY_MOST}; the others have {PRIORITY}"
            )
        found[node] = int(number)
    return found


def without_quorum(environment: Mapping[str, str]) -> set[str]:
    """Return the nodes of WITHOUT_QUORUM."""
    return set(_words(environment.get("WITHOUT_QUORUM") or ""))


def _words(value: str) -> list[str]:
    return [each.strip() for each in value.split(",") if each.strip()]


def is_watched(environment: Mapping[str, str]) -> bool:
    """Tell whether a stack with these settings has Prometheus and Alertmanager."""
    return environment.get("MONITORING") == "yes"


def has_poolers(environment: Mapping[str, str]) -> bool:
    """Tell whether a stack with these settings has a PgBouncer on each data node."""
    return environment.get("POOLER") == "yes"


def way_to_nodes(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what Compose tells the proxies of the nodes: which port, and how many sessions."""
    return POOLED if has_poolers(environment) else {}


def file(root: Path) -> Path:
    """Return where this stack's settings are kept."""
    return names.home(root) / ".env"


def read(root: Path) -> dict[str, str]:
    """Return what is kept; nothing when there is no file."""
    return read_file(file(root))


def read_file(path: Path) -> dict[str, str]:
    """Return what a file of settings has; nothing when there is none."""
    return parse(path.read_text(encoding="utf-8").splitlines() if path.exists() else [])


def parse(lines: Iterable[str]) -> dict[str, str]:
    """Return what lines of a file of settings say."""
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, value in pairs}


def adopt(root: Path, names: Container[str] = NAMES) -> None:
    """Put what is kept into this process's environment, where it does not say otherwise."""
    for name, value in read(root).items():
        if name in names:
            os.environ.setdefault(name, value)


def port(name: str) -> int:
    """Return a port of the host; raise StackError where it is no number of a port."""
    value = os.environ.get(name) or str(ALL_PORTS[name])
    if not value.isdecimal() or not 0 < int(value) < 2**16:
        raise StackError(f"{name} is '{value}'; it must be a port, 1 to 65535")
    return int(value)


def check() -> None:
    """Raise StackError that names a setting whose value cannot be."""
    bind_address()
    for name, allowed in CHOICES.items():
        value = os.environ.get(name)
        if value and value not in allowed:
            raise StackError(f"{name} is '{value}'; it must be {' or '.join(allowed)}")
    check_numbers()


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


def bind_address() -> IPv4Address:
    """Return where ports are published; raise StackError where that is no address."""
    value = os.environ.get("BIND_ADDRESS") or DEFAULTS["BIND_ADDRESS"]
    try:
        return IPv4Address(value)
    except ValueError:
        raise StackError(
            f"BIND_ADDRESS is '{value}'; it must be an IPv4 address of this host: 127.0.0.1 (this "
            "host alone), 0.0.0.0 (whoever reaches it), or one of its own"
        ) from None


def published_on() -> str:
    """Return the address by which this host reaches its published ports."""
    address = bind_address()
    return "127.0.0.1" if address.is_unspecified else str(address)


def is_placed() -> bool:
    """Tell whether ports and networks are known: another stack's are chosen by `make up`."""
    return names.is_default() or all(os.environ.get(name) for name in (*PORTS, *SUBNETS))


def where() -> dict[str, str]:
    """Return in words where the stack is on this host: its ports, its networks."""
    if not is_placed():
        return dict.fromkeys(("ports", "networks"), "chosen at the first `make up`")
    ports = (f"{name.removesuffix('_PORT').lower()} {port(name)}" for name in PORTS)
    networks = (f"{name.removesuffix('_SUBNET').lower()} {subnet(name)}" for name in SUBNETS)
    return {"ports": ", ".join(ports), "networks": ", ".join(networks)}


def loosened(kept: Mapping[str, str], now: Mapping[str, str]) -> list[Loosened]:
    """Return what is more open now than it was kept."""
    found = []
    for name, default in DEFAULTS.items():
        before, after = (each.get(name) or default for each in (kept, now))
        if _closed(name, after) < _closed(name, before):
            found.append(Loosened(name, before, after))
    return found


def _closed(name: str, value: str) -> int:
    """Return how closed a setting is; what cannot be told is as open as can be."""
    if name == "BIND_ADDRESS":
        return _reach(value)
    return CLOSED[name].index(value) if value in CLOSED[name] else 0


def _reach(value: str) -> int:
    """Return LOOPBACK, 1 for an address of one network, 0 for all addresses of the host."""
    try:
        address = IPv4Address(value)
    except ValueError:
        return 0
    return LOOPBACK if address.is_loopback else int(not address.is_unspecified)


def confirm(changes: list[Loosened]) -> None:
    """Ask whether to open what was closed; raise StackError unless the answer is yes."""
    if changes:
        told = ", ".join(f"{one.name} from {one.before} to {one.now}" for one in changes)
        agree(f"This opens the stack: {told}.", "Say so with YES=1, or leave it out.")


def confirm_retention(kept: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Ask whether to keep the audit for less long than before; raise StackError without a yes."""
    before, after = (int(each.get(RETENTION) or RETENTION_DAYS) for each in (kept, now))
    if after and (not before or after < before):
        days = f"{before} days" if before else "for ever"
        what = (
            f"This removes what is older than {after} days from the audit, kept {days} until now."
        )
        agree(what, "Say so with YES=1, or leave AUDIT_RETENTION as it was.")


def require_major(kept: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise StackError where the stack's data are of another major release of PostgreSQL."""
    before, after = (each.get(MAJOR) or MAJOR_DEFAULT for each in (kept, now))
    if before != after:
        raise StackError(
            f"{MAJOR} is {after}, and this stack's data are of PostgreSQL {before}, which a server "
            f"of {after} cannot read. docs/upgrade.md has the way. Nothing was changed."
        )


def keep(root: Path, now: Mapping[str, str]) -> None:
    """Write what is set now to the file; its other lines stay as they are."""
    path = file(root)
    kept = read_file(path)
    changed = {name: now[name] for name in NAMES if now.get(name, "") != kept.get(name, "")}
    if not changed:
        return
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    stay = [line for line in lines if line.split("=", 1)[0].strip() not in changed]
    new = [f"{name}={value}" for name, value in changed.items() if value]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*stay, *new]) + "\n", encoding="utf-8")
