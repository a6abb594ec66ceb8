"""A second stack beside the first, on one engine and from one checkout; and whose each is.

The tests of this file build on one another, in their order: a stack takes a minute to come up.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import httpx
import pytest

from ops import firewall, names
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    REDUNDANT_LIMIT,
    ROOT,
    docker,
    new_user,
    run,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECOND = "second"
SECOND_URL = "http://127.0.0.1:18080"

UP_LIMIT = 600.0
"""Seconds for the second stack to come up beside the first, images being there."""

STARTED = "{{.Name}} {{.Id}} {{.State.StartedAt}} {{.RestartCount}}"


def made(stack: str) -> dict[str, list[str]]:
    """Return all that a stack has on the engine, containers with the time of their start."""
    label = ("--filter", f"label=com.docker.compose.project={stack}")
    numbered = ("--filter", "label=com.docker.compose.container-number")
    ids = docker("ps", "--all", "--quiet", *label, *numbered).split()
    shown = docker("inspect", "--format", STARTED, *ids).splitlines() if ids else []
    return {
        "containers": sorted(shown),
        "volumes": sorted(docker("volume", "ls", "--quiet", *label).split()),
        "networks": sorted(docker("network", "ls", "--quiet", *label).split()),
    }


def is_well(**said: str) -> bool:
    """Tell what `holdfast status` says of a stack."""
    return run("ops.cli", "status", **said).returncode == 0


@pytest.fixture(scope="module")
def first(running_stack: None) -> dict[str, list[str]]:  # noqa: ARG001 - ordering only
    """All that the first stack has, before there is a second."""
    there = made(names.DEFAULT)
    assert there["containers"]
    assert there["volumes"]
    return there


@pytest.fixture(scope="module")
def second(first: dict[str, list[str]]) -> Iterator[None]:  # noqa: ARG001 - ordering only
    """The second stack; nothing of it is left afterwards."""
    up = run("ops", "up", limit=UP_LIMIT, NAME=SECOND, HTTP_PORT="18080")
    try:
        assert up.returncode == 0, up.stdout
        assert f"NAME={SECOND} make status" in up.stdout
        assert "localhost:18080" in up.stdout
        yield
    finally:
        gone = run("ops", "distclean", NAME=SECOND, YES="1")
        assert gone.returncode == 0, gone.stdout


@pytest.mark.usefixtures("second")
def test_both_are_well_and_each_has_its_own_data(first: dict[str, list[str]]) -> None:
    """One address, which is unique in a stack, is created in both."""
    wait_until("the first stack well", REDUNDANT_LIMIT, is_well)
    wait_until("the second stack well", REDUNDANT_LIMIT, lambda: is_well(NAME=SECOND))
    user = new_user("two-stacks")
    for url in (BASE_URL, SECOND_URL):
        answer = httpx.post(f"{url}/api/users", json=user, timeout=CLIENT_TIMEOUT)
        assert answer.status_code == 201, answer.text
        there = httpx.get(f"{url}{answer.headers['location']}", timeout=CLIENT_TIMEOUT)
        assert there.json()["email"] == user["email"]
    assert made(names.DEFAULT) == first
    assert len(made(SECOND)["containers"]) == len(first["containers"])


@pytest.mark.usefixtures("second")
def test_each_has_its_rule_against_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """For its own network."""
    assert firewall.is_shut()
    monkeypatch.setenv("NAME", SECOND)
    assert firewall.is_shut()


@pytest.mark.usefixtures("second")
def test_a_name_that_is_printed_can_be_killed() -> None:
    """`make primary` and `make vip` print containers; status and drills speak of members."""
    for verb in ("primary", "vip"):
        printed = run("ops", verb, NAME=SECOND).stdout.strip()
        assert printed.startswith("second-")
        assert docker("inspect", "--format", "{{.State.Status}}", printed).strip() == "running"
    said = json.loads(run("ops.cli", "status", "--json", NAME=SECOND).stdout)
    assert said["primary"] in {"postgres1", "postgres2"}
    assert said["virtual_ip"]["address"] != "172.30.0.100"


@pytest.mark.long
@pytest.mark.usefixtures("second")
def test_a_drill_of_the_second_leaves_the_first_alone(
    first: dict[str, list[str]], tmp_path: Path
) -> None:
    """Its primary is killed under load, and every promise is kept; nothing moves in the first."""
    load = ("--writes", "10", "--reads", "20", "--keep", str(tmp_path))
    done = run("ops.cli", "drill", "primary-killed", *load, NAME=SECOND)
    assert done.returncode == 0, done.stdout
    assert [each.name.endswith("second-primary-killed") for each in tmp_path.iterdir()] == [True]
    assert made(names.DEFAULT) == first


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `git clone` makes of this checkout: no secrets, no settings."""
    kept = shutil.ignore_patterns("secrets", "stacks", ".env", "__pycache__")
    for folder in ("ops", "deploy"):
        shutil.copytree(ROOT / folder, tmp_path / "clone" / folder, ignore=kept)
    return tmp_path / "clone"


@pytest.mark.runbook("`make up` breaks off")
@pytest.mark.usefixtures("second")
@pytest.mark.parametrize("verb", ["up", "down", "clean", "distclean"])
@pytest.mark.parametrize("stack", [names.DEFAULT, SECOND])
def test_a_clone_is_told_whose_a_stack_is(stack: str, verb: str, clone: Path) -> None:
    """And changes nothing: neither what is on the engine nor the passwords."""
    before = made(stack)
    done = run("ops", verb, cwd=clone, NAME=stack, YES="1", BOOTSTRAP="no")
    assert done.returncode == 1, done.stdout
    assert f"The stack {stack} on this engine is another checkout's: {ROOT}" in done.stdout
    assert "NAME=other make up" in done.stdout
    assert not list(clone.glob("deploy/compose/**/secrets"))
    assert made(stack) == before


@pytest.mark.usefixtures("second")
def test_data_is_not_removed_unasked() -> None:
    """Where nobody can be asked, and YES=1 is not said."""
    before = made(SECOND)
    done = run("ops", "clean", NAME=SECOND)
    assert done.returncode == 1
    assert f"removes the data of the stack {SECOND}" in done.stdout
    assert "YES=1" in done.stdout
    assert made(SECOND) == before


@pytest.mark.usefixtures("second")
def test_the_second_is_removed_and_the_first_is_as_it_was(
    first: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers, volumes, networks, the host's rule, images: the first needs all of its own."""
    done = run("ops", "clean", NAME=SECOND, YES="1")
    assert done.returncode == 0, done.stdout
    assert made(SECOND) == {"containers": [], "volumes": [], "networks": []}
    assert "second_owner" not in docker("volume", "ls", "--quiet").split()
    again = run("ops", "distclean", NAME=SECOND)  # there is nothing left to ask about
    assert again.returncode == 0, again.stdout
    assert f"The images stay: they are also those of the stack {names.DEFAULT}" in again.stdout
    assert docker("image", "inspect", "--format", "{{.Id}}", "holdfast-postgres").strip()
    assert made(names.DEFAULT) == first
    assert firewall.is_shut()
    monkeypatch.setenv("NAME", SECOND)
    assert not firewall.is_shut()
    monkeypatch.delenv("NAME")
    assert is_well()
    user = new_user("two-stacks")
    answer = httpx.post(f"{BASE_URL}/api/users", json=user, timeout=CLIENT_TIMEOUT)
    assert answer.status_code == 201
