"""Somebody on the host's network: what is published on loopback, and what is not, is out of reach.

The neighbour is a network namespace with a cable to this host, which it has chosen as its router.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from ops import firewall
from tests.stack.support import BASE_URL, ROOT
from tests.stack.test_guests import HALF_OPEN, UPLOADS, WATCHED, use
from tests.stack.test_hostile import attack

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE, CABLE = "holdfast-neighbour", "holdfast-n"
HERE, THERE = "10.213.99.1", "10.213.99.2"
EDGE = "172.30.0.40"
LIMIT = 30.0

# A namespace without a loopback of its own sends to 127.0.0.1 as it is told, like a hostile host.
SETUP = f"""set -e
ip netns add {NAMESPACE}
ip link add {CABLE}0 type veth peer name {CABLE}1 netns {NAMESPACE}
ip address add {HERE}/24 dev {CABLE}0
ip link set {CABLE}0 up
in_there="ip netns exec {NAMESPACE}"
$in_there sh -c 'cd /proc/sys/net/ipv4/conf
    for each in *; do echo 1 >$each/route_localnet; echo 0 >$each/rp_filter; done'
$in_there ip address add {THERE}/24 dev {CABLE}1
$in_there ip link set {CABLE}1 up
$in_there ip route add 127.0.0.1/32 via {HERE} src {THERE}
$in_there ip route add 172.30.0.0/16 via {HERE}
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)


@pytest.fixture(scope="module")
def neighbour(running_stack: None) -> Iterator[list[str]]:  # noqa: ARG001 - ordering only
    """What runs a command as a neighbour of this host."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        reason = "playing a neighbour takes root and iproute2"
        if os.environ.get("CI") == "true":
            pytest.fail(f"not run: {reason}")
        pytest.skip(f"not run: {reason}")
    done = run("sh", "-c", SETUP)
    try:
        assert done.returncode == 0, done.stderr
        yield ["ip", "netns", "exec", NAMESPACE]
    finally:
        run("ip", "netns", "delete", NAMESPACE)


def status(neighbour: list[str], url: str) -> str:
    """Return the status that the neighbour gets; 000 when it gets no answer."""
    asked = ("curl", "-s", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", url)
    return run(*neighbour, *asked).stdout


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080/livez", f"http://{EDGE}:8080/livez", f"http://{EDGE}:8404/"],
)
def test_a_neighbour_gets_no_answer(neighbour: list[str], url: str) -> None:
    """Neither from a port that is published on loopback, nor from the container behind it."""
    assert httpx.get(f"{BASE_URL}/livez").status_code == 200
    assert status(neighbour, url) == "000"


def test_all_strangers_at_once(neighbour: list[str]) -> None:
    """A neighbour that knocks without pause, logins and uploads that never end: nothing fails."""
    knock = "while :; do curl -s -m 1 -o /dev/null http://127.0.0.1:8080/livez; done"
    limited = ("timeout", f"{WATCHED + LIMIT:.0f}", "sh", "-c", knock)
    with (
        subprocess.Popen((*neighbour, *limited), start_new_session=True) as knocking,
        attack(HALF_OPEN) as logins,
        attack(UPLOADS) as uploads,
    ):
        try:
            use(WATCHED)
            ended = [each.args for each in (knocking, logins, uploads) if each.poll() is not None]
            assert ended == [], "ended before its measurement"
        finally:
            os.killpg(knocking.pid, signal.SIGKILL)


def test_the_rule_is_what_keeps_a_neighbour_out(neighbour: list[str]) -> None:
    """Without it the same neighbour reaches the service: the test above can fail."""
    firewall.release()
    try:
        assert not firewall.is_shut()
        assert status(neighbour, f"http://{EDGE}:8080/livez") == "200"
    finally:
        firewall.shut(ROOT / "deploy" / "bootstrap" / "firewall.nft", "172.30.0.0/24")
    assert firewall.is_shut()
    assert status(neighbour, f"http://{EDGE}:8080/livez") == "000"
