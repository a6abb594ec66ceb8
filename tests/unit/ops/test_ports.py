"""The embedded stack's ports, and the variables that haproxy.cfg takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

from ops.dev import DEFAULT_PORTS
from ops.embedded import CONFIGURATION, Ports
from ops.embedded.ports import GUESTS, PORTS

ROOT = Path(__file__).parents[3]
# Those that are no address; HAProxy has a default for each.
NO_ADDRESS = {"LOG_LEVEL", "MAXCONN", "PG_CLEAR_TEXT", "STATS_SOCKET"}
NO_ADDRESS |= {"PG_PLACES", "PG_GUEST_PLACES"}


def test_every_variable_of_the_configuration_is_given() -> None:
    """No address of the real stack is left in the embedded one by a forgotten variable."""
    text = re.sub(r"#.*", "", CONFIGURATION.read_text())
    wanted = set(re.findall(r"\$\{(\w+)-", text))
    assert wanted - NO_ADDRESS == set(Ports().haproxy_variables())


def test_everything_stays_on_loopback() -> None:
    """No process of the embedded stack listens to the network."""
    hosts = {value.split(":")[0] for value in Ports().haproxy_variables().values()}
    assert hosts == {"127.0.0.1", GUESTS}
    assert GUESTS.startswith("127.")


def test_ports_avoid_outgoing_connections() -> None:
    """Ports are chosen below the range from which the kernel takes outgoing ones."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert lowest > max(PORTS)
    assert set(Ports().by_name().values()) <= set(PORTS)


CHOOSE = "from ops.embedded.ports import free_port; print(*(free_port() for _ in range(20)))"


def test_two_runs_choose_different_ports() -> None:
    """Also while nobody listens: a node that is down for a moment loses its port to nobody."""
    command = [sys.executable, "-c", f"{CHOOSE}; input()"]
    runs = [
        subprocess.Popen(command, cwd=ROOT, stdin=PIPE, stdout=PIPE, text=True) for _ in range(4)
    ]
    chosen = [int(port) for run in runs if run.stdout for port in run.stdout.readline().split()]
    for run in runs:
        run.communicate("\n", timeout=30)
    assert len(chosen) == len(set(chosen)) == 4 * 20
    assert set(chosen) <= set(PORTS)


def test_chosen_ports_are_kept() -> None:
    """Every port can be chosen, and each default of `make dev` is used once."""
    assert Ports(**DEFAULT_PORTS).by_name() == DEFAULT_PORTS
    assert len(set(DEFAULT_PORTS.values())) == len(DEFAULT_PORTS)
