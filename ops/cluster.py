"""What the running stack says of itself: containers, primary, virtual IP, HAProxy's servers.

Only looks, never changes. A part that does not answer is reported as absent, not as an error:
these questions are asked while things are broken. Members go by their own names here, `postgres1`,
not by their containers' (ops/names.py).
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from dataclasses import dataclass

from ops import names, settings
from ops.console import StackError

NODES = ("postgres1", "postgres2", "postgres3")
APPS = ("app1", "app2")
PROXIES = ("haproxy1", "haproxy2")
ONE_SHOT = "db-migrate"

EDGE = "vip-access"
MONITOR = "pg-monitor"
CLIENT = "psql-client"
MAKER = "certificates"
REPOSITORY = "backup"
WATCHER = "monitoring"

MEMBERS = (MONITOR, *NODES, REPOSITORY, *PROXIES, ONE_SHOT, *APPS, EDGE, CLIENT, MAKER, WATCHER)
"""Everything that has a container."""

UPDATED = re.compile(r"(?:^|,)holdfast\.updated=([^,]*)")
"""The label that images have of their build; containers inherit it."""

EDGE_LIMIT = 2.0
"""Seconds for nginx itself to answer on the published port."""

LOOK_LIMIT = 10.0
"""Seconds for one question to one container."""

LIST_LIMIT = 30.0
"""Seconds for Docker to list the containers."""

MONITOR_SQL = ("psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", "pg_auto_failover")
"""Run in the monitor's container, followed by -c and a statement. What pg_autoctl's commands of 2.2
wait with reads a group's number from memory that is no longer theirs (monitor_get_nodes in
monitor.c), and some end with an error after the monitor has done what was asked."""

POOLER = (
    *("psql", "--no-psqlrc", "-h", "/tmp/pgbouncer", "-p", "6432"),  # noqa: S108 - the container's
    *("-U", "pgbouncer", "-d", "pgbouncer"),
)
"""A node's PgBouncer's console (deploy/postgres/bin/pooler.sh), followed by -c and a command."""

WRITABLE = ("psql", "--no-psqlrc", "-qAt", "-d", "postgres", "-c", "SHOW transaction_read_only")
"""Asks a node what HAProxy's check asks; `off` means that it accepts writes."""


@dataclass(frozen=True)
class Container:
    """One container of the stack, as `docker ps` has it."""

    name: str  # the member's
    state: str
    status: str
    updated: str = ""  # ISO 8601: its image has the packages of then; empty: nobody says

    @property
    def condition(self) -> str:
        """A word for where it stands: healthy, starting, done, or what Docker says."""
        if self.name == ONE_SHOT and self.status.startswith("Exited (0)"):
            return "done"
        for word in ("unhealthy", "healthy"):
            if f"({word})" in self.status:
                return word
        return "starting" if self.state in {"running", "created"} else self.status

    @property
    def ready(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.condition in {"healthy", "done"}

    @property
    def hopeless(self) -> bool:
        """Whether waiting will not help: the one-shot container has failed."""
        return self.name == ONE_SHOT and self.state == "exited" and not self.ready


def docker(*arguments: str, limit: float = LIST_LIMIT) -> str:
    """Run a Docker command and return its output; raise StackError with Docker's words.

    `limit`: seconds it may take.
    """
    try:
        done = subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        what = f"docker {arguments[0]} did not answer within {limit:.0f} s"
        raise StackError(f"{what}; is the machine, or the engine, overloaded?") from None
    if done.returncode != 0:
        words = done.stderr.strip()
        up = names.command("make up")
        raise StackError(f"docker {arguments[0]}: {words}\nIs the stack up? Try `{up}`.")
    return done.stdout


def ask(member: str, *command: str) -> str:
    """Return what a command prints inside a container; nothing when it cannot run there."""
    full = ["docker", "exec", names.container(member), *command]
    try:
        done = subprocess.run(
            full, capture_output=True, text=True, errors="replace", check=False, timeout=LOOK_LIMIT
        )
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout if done.returncode == 0 else ""


def query(node: str, sql: str, database: str = "postgres") -> str:
    """Return what a statement says as a node's superuser; nothing when it cannot be asked."""
    return ask(node, "psql", "--no-psqlrc", "-qAt", "-d", database, "-c", sql)


def is_leaderless(node: str) -> bool:
    """Tell whether a node waits for a person to say who is the primary (heal.sh)."""
    return bool(ask(node, "sh", "-c", "cat /tmp/leaderless 2>/dev/null"))


def last_words(member: str, lines: int = 10) -> list[str]:
    """Return the end of a container's log."""
    command = ["docker", "logs", "--tail", str(lines), names.container(member)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=LIST_LIMIT
        )
    except subprocess.TimeoutExpired:
        return []
    return (done.stdout + done.stderr).splitlines()


def containers() -> list[Container]:
    """Return the stack's containers, whatever their state, by name."""
    listing = docker("ps", "--all", "--format", "{{json .}}", *of_the_stack())
    rows = [json.loads(line) for line in listing.splitlines()]
    return sorted(map(_container, rows), key=lambda container: container.name)


def nodes_there() -> list[str]:
    """Return the data nodes that have a container, whatever its state."""
    return [each.name for each in containers() if each.name in NODES]


def _container(row: dict[str, str]) -> Container:
    updated = UPDATED.search(row.get("Labels", ""))
    when = updated[1] if updated else ""
    return Container(names.member(row["Names"]), row["State"], row["Status"], when)


def of_the_stack() -> list[str]:
    """Return what makes `docker ps` list the stack's containers, and no others."""
    # The project's label alone is on its images, too, and so on whatever else is run from them.
    labels = (f"project={names.stack()}", "container-number")
    return [word for label in labels for word in ("--filter", f"label=com.docker.compose.{label}")]


def accepts_writes(node: str) -> bool:
    """Tell whether a node takes writes now."""
    return ask(node, *WRITABLE).strip() == "off"


def find_primary() -> str | None:
    """Return the node that accepts writes, or None."""
    return next((node for node in NODES if accepts_writes(node)), None)


def holds_vip(proxy: str) -> bool:
    """Tell whether a proxy has the virtual IP."""
    return f" {vip()}/" in ask(proxy, "ip", "-4", "address", "show")


def find_vip_holder() -> str | None:
    """Return the proxy that holds the virtual IP, or None."""
    return next((proxy for proxy in PROXIES if holds_vip(proxy)), None)


def cluster_state() -> str:
    """Return the monitor's table of nodes; nothing when it does not answer."""
    return ask(MONITOR, "pg_autoctl", "show", "state")


def backends() -> list[dict[str, str]]:
    """Return HAProxy's own table of servers, as the virtual IP's holder has it."""
    holder = find_vip_holder()
    return servers_of(holder) if holder else []


def servers_of(proxy: str) -> list[dict[str, str]]:
    """Return one proxy's own table of servers; nothing when it does not answer."""
    return servers_in(ask(proxy, "curl", "-s", "-m", "3", "http://127.0.0.1:8404/;csv"))


def servers_in(text: str) -> list[dict[str, str]]:
    """Return the servers of HAProxy's table, which is in CSV."""
    lines = text.removeprefix("# ").splitlines()
    header = lines[0].split(",") if lines else []
    rows = [dict(zip(header, line.split(","), strict=False)) for line in lines[1:]]
    return [row for row in rows if row["svname"] not in {"FRONTEND", "BACKEND"}]


def vip() -> str:
    """Return the virtual IP."""
    return f"{settings.prefix('EDGE_SUBNET')}.100"


def edge_port() -> int:
    """Return the published HTTP port."""
    return settings.port("HTTP_PORT")


def edge_url() -> str:
    """Return where the service is published, as this machine reaches it."""
    return f"http://{settings.published_on()}:{edge_port()}"


def service_url() -> str:
    """Return the same for clients; raise StackError where it would be another stack's."""
    if not settings.is_placed():
        up = names.command("make up")
        raise StackError(
            f"There is no stack {names.stack()} of this checkout yet; `{up}` makes it."
        )
    return edge_url()


def edge_answers() -> bool:
    """Tell whether nginx answers on the port that is published on this machine."""
    return ask_edge("/nginx-health", EDGE_LIMIT) == http.client.NO_CONTENT


def ask_edge(path: str, limit: float) -> int | str:
    """Return the status of an answer through the published port, or why there is none.

    `limit`: seconds that may pass without a word.
    """
    connection = http.client.HTTPConnection(settings.published_on(), edge_port(), timeout=limit)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
