"""The host's own rule against its neighbours (deploy/bootstrap/firewall.nft).

It is set by a container of the stack's own image that has the host's network and NET_ADMIN: whoever
may use Docker may set it, nft need not be on the host, and it stays when that container is gone. It
does not outlive a restart of the host: the next `make up` sets it again. Each stack has its own
table, for its own subnet.
"""

from __future__ import annotations

import string
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ops import names
from ops.console import StackError, result

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

LIMIT = 30.0
"""Seconds for the rule to be set, or looked for."""

IMAGE = "holdfast-haproxy"

HELD_MOST = 30
"""Seconds that connections may be held: measured are 2 to 3."""

HOLD = """table ip {table} {{
    chain others {{
        type filter hook prerouting priority raw;
        tcp dport {{ {ports} }} tcp flags & (syn | ack) == syn fib daddr type local drop
    }}
    chain ourselves {{
        type filter hook output priority raw;
        tcp dport {{ {ports} }} tcp flags & (syn | ack) == syn fib daddr type local drop
    }}
}}"""


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


@contextmanager
def held(ports: Iterable[int]) -> Iterator[None]:
    """Let whoever connects to one of this host's ports wait, as long as the block runs.

    What asks for a connection is dropped, and the client's kernel asks again after 1 s, 3 s, 7 s
    (RFC 6298): nobody is refused while nobody listens. After HELD_MOST the rule ends by itself.
    """
    hold = f"{table()}_hold"  # the guard's container is called so, too
    rules = HOLD.format(table=hold, ports=", ".join(map(str, ports)))
    ends = f"sleep {HELD_MOST}; nft delete table ip {hold}"
    try:
        _run("--detach", "--name", hold, "--entrypoint", "sh", IMAGE, "-c", ends)
        done = _nft("-f", "-", given=rules)
        if done.returncode != 0:
            raise StackError(f"The host's firewall takes no rule: {done.stderr.strip()}")
        yield
    finally:
        _nft("delete", "table", "ip", hold)
        subprocess.run(
            ["docker", "rm", "--force", hold], capture_output=True, check=False, timeout=LIMIT
        )


def _nft(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return _run("--interactive", "--entrypoint", "nft", IMAGE, *arguments, given=given)


def _run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [
        *("docker", "run", "--rm", "--network", "host", "--user", "0", "--cap-drop", "ALL"),
        *("--cap-add", "NET_ADMIN", "--security-opt", "no-new-privileges", *arguments),
    ]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, check=False, timeout=LIMIT
    )
