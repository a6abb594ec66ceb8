"""What is taken is found before anything starts, with who has it and what to change."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

from ops import cluster, preflight, settings
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Engine:
    """What the Docker engine says, as these tests have it."""

    def __init__(self) -> None:
        self.published = ""
        self.networks = {"bridge": "172.17.0.0/16", "host": ""}

    def __call__(self, *arguments: str) -> str:
        """Answer as `docker` does."""
        if arguments[0] == "ps":
            return self.published
        if arguments[:2] == ("network", "ls"):
            return "\n".join(self.networks)
        rows = [
            {"Name": name, "IPAM": {"Config": [{"Subnet": net}] if net else None}}
            for name, net in self.networks.items()
        ]
        return json.dumps(rows)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    """An engine, and a machine on which all is free."""
    engine = Engine()
    monkeypatch.setattr(cluster, "docker", engine)
    monkeypatch.setattr(preflight, "ROUTES", tmp_path / "route")
    monkeypatch.delenv("BIND_ADDRESS", raising=False)
    for name in settings.SUBNETS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MONITORING", raising=False)
    for name in settings.ALL_PORTS:
        monkeypatch.setenv(name, str(_free_port()))
    return engine


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that this process listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.usefixtures("engine")
def test_a_free_machine_is_let_through() -> None:
    """Nothing is raised."""
    preflight.check()


@pytest.mark.usefixtures("engine")
def test_a_port_in_use_is_named_with_its_process(
    listener: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And with the variable that changes it."""
    monkeypatch.setenv("STATS_PORT", str(listener))
    with pytest.raises(StackError) as caught:
        preflight.check()
    said = str(caught.value)
    assert f"Port {listener} is in use by " in said
    assert f"(process {os.getpid()})" in said
    assert "STATS_PORT=" in said
    assert "Nothing was started" in said


def test_a_port_of_another_container_is_named_with_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a process for each port (no userland proxy) nobody listens there."""
    monkeypatch.setenv("HTTP_PORT", "18999")
    engine.published = "theirs\t0.0.0.0:18999->80/tcp, :::18999->80/tcp"
    with pytest.raises(StackError, match="18999 is in use by container theirs"):
        preflight.check()
    engine.published = "theirs\t127.0.0.1:18998-19000->80-82/tcp"
    with pytest.raises(StackError, match="18999 is in use by container theirs"):
        preflight.check()
    engine.published = "vip-access\t127.0.0.1:18999->8080/tcp"
    preflight.check()


@pytest.mark.usefixtures("engine")
def test_ports_of_what_is_not_wanted_may_be_in_use(
    listener: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prometheus's is needed where there is one."""
    monkeypatch.setenv("PROMETHEUS_PORT", str(listener))
    preflight.check()
    monkeypatch.setenv("MONITORING", "yes")
    with pytest.raises(StackError, match="PROMETHEUS_PORT="):
        preflight.check()


@pytest.mark.usefixtures("engine")
def test_two_ports_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """One number for two of them is told by their names."""
    monkeypatch.setenv("READ_PORT", os.environ["WRITE_PORT"])
    with pytest.raises(StackError, match="READ_PORT and WRITE_PORT are both"):
        preflight.check()


def test_a_network_in_the_way_is_named(engine: Engine) -> None:
    """Docker itself would say "Pool overlaps"."""
    engine.networks["theirs"] = "172.30.0.0/16"
    with pytest.raises(StackError, match=r"172\.30\.0\.0/24.*Docker network theirs"):
        preflight.check()


def test_the_stacks_own_networks_are_not_in_the_way(engine: Engine) -> None:
    """`make up` on a running stack."""
    engine.networks |= {
        f"holdfast_{name}": settings.SUBNETS[setting]
        for setting, name in preflight.NETWORKS.items()
    }
    preflight.check()


def test_another_stacks_networks_and_ports_are_in_the_way(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the first stack, for the second; what helps is said with its name."""
    monkeypatch.setenv("NAME", "second")
    monkeypatch.setenv("HTTP_PORT", "18999")
    engine.published = "vip-access\t127.0.0.1:18999->8080/tcp"
    engine.networks["holdfast_edge"] = settings.SUBNETS["EDGE_SUBNET"]
    with pytest.raises(StackError) as caught:
        preflight.check()
    said = str(caught.value)
    assert "18999 is in use by container vip-access" in said
    assert "NAME=second HTTP_PORT=28999 make up" in said
    assert "in use by the Docker network holdfast_edge" in said
    engine.published = "second-vip-access\t127.0.0.1:18999->8080/tcp"
    engine.networks = {"second_edge": settings.SUBNETS["EDGE_SUBNET"]}
    preflight.check()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("value", "said"),
    [("localhost", "must be an IPv4 address"), ("192.0.2.1", "no address of this host")],
)
def test_ports_are_published_on_an_address_of_this_host(
    value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker would say it when half of the stack runs."""
    monkeypatch.setenv("BIND_ADDRESS", value)
    with pytest.raises(StackError, match=said):
        preflight.check()


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("destination", "mask", "taken"),
    [
        ("00001EAC", "0000FFFF", True),
        ("000010AC", "0000FFFF", False),
        ("00000000", "00000000", False),
    ],
)
def test_a_route_in_the_way_is_named(destination: str, mask: str, taken: bool) -> None:
    """Of a VPN, or of a network of the host's own; the default route is no such thing."""
    header = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    row = f"tun0\t{destination}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n"
    preflight.ROUTES.write_text(header + row)
    if not taken:
        preflight.check()
        return
    with pytest.raises(StackError, match=r"172\.30\.0\.0/24.*routed to tun0"):
        preflight.check()
