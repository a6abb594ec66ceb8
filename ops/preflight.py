"""What `make up` needs free on the host, looked at before anything starts: ports and subnets.

Docker's own errors come when half of the stack runs; they name neither who has it nor what to do.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ops import cluster, names, settings
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping

NETWORKS = {"EDGE_SUBNET": "edge", "DATABASE_SUBNET": "database"}
"""Settings that say where the networks of compose.yaml are."""

_HOST_PORTS = re.compile(r":(\d+)(?:-(\d+))?->")  # 0.0.0.0:80->80/tcp, :::6432-6433->6432-6433/tcp

ROUTES = Path("/proc/net/route")
ROUTE_UP = 1  # linux/route.h, RTF_UP


def check() -> None:
    """Raise StackError that names what is taken, who has it, and what changes it."""
    address = str(settings.bind_address())
    if not _is_of_this_host(address):
        raise StackError(f"BIND_ADDRESS is {address}, which is no address of this host.")
    wanted = settings.ALL_PORTS if settings.is_watched(os.environ) else settings.PORTS
    ports = {name: settings.port(name) for name in wanted}
    subnets = {name: settings.subnet(name) for name in settings.SUBNETS}
    found = taken(ports, subnets)
    if found:
        raise StackError("\n".join([*found, "Nothing was started."]))


def taken(
    ports: Mapping[str, int], subnets: Mapping[str, ipaddress.IPv4Network], *, tell: bool = True
) -> list[str]:
    """Return a sentence for each of these that somebody else has. `tell`: also which process."""
    return [*_ports(ports, tell=tell), *_subnets(subnets)]


def _ports(ports: Mapping[str, int], *, tell: bool) -> list[str]:
    published = _published()
    address = str(settings.bind_address())
    ours = {names.container(cluster.EDGE), names.container(cluster.WATCHER)}
    found: list[str] = []
    wanted: dict[int, str] = {}
    for name, port in ports.items():
        if port in wanted:
            found.append(f"{name} and {wanted[port]} are both {port}; each needs its own.")
        wanted[port] = name
        holder = published.get(port, "")
        at = "127.0.0.1" if name in settings.WATCHED_PORTS else address
        if holder not in ours and (holder or not _is_free(at, port)):
            process = _listener(port) if tell and not holder else ""
            who = f"container {holder}" if holder else (process or "another process")
            other = names.command(f"{name}={(port + 10_000) % 2**16} make up")
            found.append(f"Port {port} is in use by {who}. Another one: {other}")
    return found


def _published() -> dict[int, str]:
    """Return who has published which port of the host."""
    listing = cluster.docker("ps", "--format", "{{.Names}}\t{{.Ports}}")
    found = {}
    for line in listing.splitlines():
        name, _, ports = line.partition("\t")
        for first, last in _HOST_PORTS.findall(ports):
            found.update(dict.fromkeys(range(int(first), int(last or first) + 1), name))
    return found


def _is_of_this_host(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        try:
            tried.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((address, port))
        except OSError as error:
            # Below 1024 only root may; Docker is root.
            return error.errno != errno.EADDRINUSE
    return True


def _listener(port: int) -> str:
    """Return the process that listens there, as far as this user may see it."""
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":  # TCP_LISTEN
                inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        process = link.parents[1]
        try:
            if str(link.readlink()) in inodes:
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:  # it has ended meanwhile, or is somebody else's
            continue
    return ""


def _subnets(subnets: Mapping[str, ipaddress.IPv4Network]) -> list[str]:
    found = []
    networks = _networks()
    for setting, ours in subnets.items():
        name = names.network(NETWORKS[setting])
        others = {key: nets for key, nets in networks.items() if key != name}
        holder = next((key for key, nets in others.items() if any(map(ours.overlaps, nets))), None)
        if holder:
            found.append(f"{ours} is in use by the Docker network {holder}. {_another(setting)}")
        elif name not in networks and (device := _routed(ours)):
            found.append(f"{ours} is routed to {device} on this host. {_another(setting)}")
    return found


def _another(setting: str) -> str:
    other = names.command(f"{setting}=10.213.{len(setting)}.0/24 make up")
    return f"Another one, of 256 addresses: {other}"


def _networks() -> dict[str, list[ipaddress.IPv4Network | ipaddress.IPv6Network]]:
    there = cluster.docker("network", "ls", "--format", "{{.Name}}").split()
    found = {}
    for row in json.loads(cluster.docker("network", "inspect", *there)):
        configured = (row.get("IPAM") or {}).get("Config") or []
        found[row["Name"]] = [
            ipaddress.ip_network(each["Subnet"]) for each in configured if each.get("Subnet")
        ]
    return found


def _routed(ours: ipaddress.IPv4Network) -> str | None:
    """Return the device that packets to a subnet leave by; a default route is none."""
    for line in ROUTES.read_text().splitlines()[1:] if ROUTES.exists() else ():
        device, destination, _, flags, _, _, _, mask = line.split()[:8]
        first, bits = (
            ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(each), "little"))
            for each in (destination, mask)
        )
        route = ipaddress.ip_network(f"{first}/{bits}", strict=False)
        if int(flags, 16) & ROUTE_UP and route.prefixlen and route.overlaps(ours):
            return device
    return None
