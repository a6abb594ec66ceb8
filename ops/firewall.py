"""The host's own rule against its neighbours (deploy/bootstrap/firewall.nft).

It is set by a container of the stack's own image that has the host's network and NET_ADMIN: whoever
may use Docker may set it, nft need not be on the host, and it stays when that container is gone. It
does not outlive a restart of the host: the next `make up` sets it again. Each stack has its own
table, for its own subnet.
"""

from __future__ import annotations

import string
import subprocess
from typing import TYPE_CHECKING

from ops import names
from ops.console import StackError, result

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 30.0
"""Seconds for the rule to be set, or looked for."""

IMAGE = "holdfast-haproxy"


def table() -> str:
    """Return the name of this stack's table; nftables has no '-' in names, NAME has no '_'."""
    stack = "" if names.is_default() else f"_{names.stack().replace('-', '_')}"
    return f"holdfast_guard{stack}"


def shut(rules: Path, edge_subnet: str) -> None:
    """Set the rule, in place of an earlier one; raise StackError where it cannot be."""
    done = _nft("-f", "-", given=filled(rules, edge_subnet))
    if done.returncode != 0:
        raise StackError(
            f"The host's firewall takes no rule: {done.stderr.strip()}\nWithout one, Docker before "
            "28 lets the host's neighbours in by ports that are published on loopback. Use a newer "
            "Docker, or a kernel with nf_tables."
        )
    result("Neighbours of this host", "kept out")


def filled(rules: Path, edge_subnet: str) -> str:
    """Return the rule as nft reads it."""
    return string.Template(rules.read_text()).substitute(TABLE=table(), EDGE_SUBNET=edge_subnet)


def is_shut() -> bool:
    """Tell whether the rule is set."""
    return _nft("list", "table", "ip", table()).returncode == 0


def release() -> None:
    """Take the rule away, if there is one."""
    _nft("delete", "table", "ip", table())


def _nft(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [
        *("docker", "run", "--rm", "--interactive", "--network", "host", "--user", "0"),
        *("--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--security-opt", "no-new-privileges"),
        *("--entrypoint", "nft", IMAGE, *arguments),
    ]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, timeout=LIMIT
    )
