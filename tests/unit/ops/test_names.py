"""Everything that a stack has, and shares with no other, follows from NAME."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from ops import cluster, firewall, names
from ops.__main__ import main
from ops.console import StackError

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text())


def test_the_first_stack_is_called_as_ever() -> None:
    """Its containers have no prefix, and what a checkout keeps of it is where it was."""
    assert names.stack() == "holdfast"
    assert names.container("postgres1") == "postgres1"
    assert names.volume("pg-monitor") == "holdfast_monitor"
    assert names.network("edge") == "holdfast_edge"
    assert names.secrets(ROOT) == ROOT / "deploy" / "compose" / "secrets"
    assert names.state(ROOT) == ROOT / ".holdfast"
    assert names.command("make up") == "make up"
    assert firewall.table() == "holdfast_guard"


def test_another_stack_shares_nothing_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Container, volume, network, secrets, logs, the host's rule: each has the name in it."""

    def everything() -> list[str]:
        places = [names.home(ROOT), names.secrets(ROOT), names.state(ROOT)]
        parts = [names.container("app1"), names.volume("postgres1"), names.network("edge")]
        return [*map(str, places), *parts, firewall.table(), names.command("make up")]

    first = everything()
    monkeypatch.setenv("NAME", "a-second")
    second = everything()
    assert not set(first) & set(second)
    assert names.container("app1") == "a-second-app1"
    assert names.member("a-second-app1") == "app1"
    assert names.command("make up") == "NAME=a-second make up"
    assert re.fullmatch(r"[a-z][a-z0-9_]*", firewall.table())  # what nftables takes unquoted


@pytest.mark.parametrize("name", ["", "holdfast", "a", "second", "x-1", "a" * 20])
def test_a_name_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing at all is the first stack's."""
    monkeypatch.setenv("NAME", name)
    assert names.stack() == (name or "holdfast")


@pytest.mark.parametrize("name", ["Second", "2nd", "-a", "a-", "a_b", "a b", "a" * 21, "../a"])
def test_a_bad_name_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what it may be, before anything is looked at; it becomes part of paths."""
    monkeypatch.setenv("NAME", name)
    with pytest.raises(StackError):
        names.stack()
    assert main(["primary"]) == 1
    assert f"NAME is '{name}'" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "table"), [("", "holdfast_guard"), ("a-b", "holdfast_guard_a_b")])
def test_each_stack_has_a_table_of_the_hosts_firewall(
    name: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the rule is in it, and it is for that stack's subnet alone."""
    monkeypatch.setenv("NAME", name)
    text = firewall.filled(ROOT / "deploy" / "bootstrap" / "firewall.nft", "172.30.2.0/24")
    rules = [line for line in text.splitlines() if not line.startswith("#")]
    tables = [line.split()[-1] for line in [each.rstrip(" {") for each in rules] if "table" in line]
    assert tables == [table] * 3
    assert "172.30.0" not in "".join(rules)


def test_compose_names_containers_as_is_said_here() -> None:
    """Each member's container is the member behind the prefix."""
    assert {name: service["container_name"] for name, service in COMPOSE["services"].items()} == {
        name: f"${{CONTAINER_PREFIX:-}}{name}" for name in cluster.MEMBERS
    }
    assert COMPOSE["name"] == names.DEFAULT


def test_inside_its_networks_a_member_is_called_the_same_in_every_stack() -> None:
    """HAProxy, certificates and the monitor know it by that."""
    for name, service in COMPOSE["services"].items():
        assert service["hostname"] == name


def test_every_secret_is_the_stacks_own() -> None:
    """Its folder follows a variable, for all of them; the host's CA bundle is no secret."""
    files = {name: each["file"] for name, each in COMPOSE["secrets"].items() if name != "ca"}
    assert all(file.startswith("${SECRETS_DIR:-secrets}/") for file in files.values())


def test_volumes_and_networks_have_the_projects_names() -> None:
    """None is given a name of its own, which two stacks would share."""
    for kind in ("volumes", "networks"):
        for each in COMPOSE[kind].values():
            assert not {"name", "external"} & set(each or {})
    assert {
        names.volume(each)
        for each in (cluster.MONITOR, *cluster.NODES, cluster.REPOSITORY, cluster.WATCHER)
    } == {f"holdfast_{name}" for name in COMPOSE["volumes"]}


def test_the_hosts_name_names_no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """WSL gives it to everything that is run there."""
    monkeypatch.setattr("socket.gethostname", lambda: "Desktop-1AB")
    monkeypatch.setenv("NAME", "DESKTOP-1AB")
    assert names.stack() == names.DEFAULT
