"""A stack with another name gets ports and subnets that nobody has, and keeps them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ops import preflight, settings, slots
from ops.console import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Network
    from pathlib import Path

ALL = (*settings.ALL_PORTS, *settings.SUBNETS)


class Machine:
    """Ports and subnets that somebody has, as these tests have it."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def __call__(
        self,
        ports: Mapping[str, int],
        subnets: Mapping[str, IPv4Network],
        *,
        tell: bool = True,  # noqa: ARG002 - as preflight.taken has it
    ) -> list[str]:
        """Answer as preflight does."""
        return sorted(self.taken & {*map(str, ports.values()), *map(str, subnets.values())})


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which all is free, and a stack that is not the first."""
    for name in ALL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NAME", "second")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    machine = Machine()
    monkeypatch.setattr(preflight, "taken", machine)
    return machine


def test_no_two_slots_share_anything() -> None:
    """Nor does any share with the first stack."""
    values = [value for number in slots.SLOTS for value in slots.slot(number).values()]
    values += [*map(str, settings.PORTS.values()), *settings.SUBNETS.values()]
    assert len(values) == len(set(values))
    assert all(value.count("/") or int(value) < 32768 for value in values)  # 32768: ephemeral ones


@pytest.mark.usefixtures("machine")
def test_the_second_stack_has_the_first_slot(tmp_path: Path) -> None:
    """Ports that are easy to remember: those of the first and 10,000."""
    given = slots.choose(tmp_path)
    assert given["HTTP_PORT"] == "18080"
    assert given["EDGE_SUBNET"] == "172.30.2.0/24"
    assert settings.port("READ_PORT") == 16433
    assert settings.prefix("DATABASE_SUBNET") == "172.30.3"


@pytest.mark.usefixtures("machine")
def test_what_is_set_is_not_chosen(tmp_path: Path) -> None:
    """By the operator, or kept from the last time."""
    os.environ["HTTP_PORT"] = "9000"
    given = slots.choose(tmp_path)
    assert set(given) == set(ALL) - {"HTTP_PORT"}
    assert settings.port("HTTP_PORT") == 9000
    assert slots.choose(tmp_path) == {}


def test_the_first_stack_is_given_nothing(machine: Machine, tmp_path: Path) -> None:
    """It is where it always was, or preflight says who is in the way."""
    machine.taken = {"8080"}
    del os.environ["NAME"]
    assert slots.choose(tmp_path) == {}


@pytest.mark.parametrize("taken", ["18080", "16433", "172.30.2.0/24"])
def test_a_slot_of_which_anything_is_taken_is_passed_over(
    taken: str, machine: Machine, tmp_path: Path
) -> None:
    """All of a stack's come from one."""
    machine.taken = {taken}
    assert slots.choose(tmp_path) == slots.slot(2)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("folder", ["deploy/compose", "deploy/compose/stacks/third"])
def test_what_another_stack_keeps_is_left_to_it(folder: str, tmp_path: Path) -> None:
    """Also while that one is down, and nothing on the machine shows it."""
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / ".env").write_text("READ_PORT=16433\n")
    assert slots.choose(tmp_path) == slots.slot(2)


def test_no_slot_left_is_said(machine: Machine, tmp_path: Path) -> None:
    """With what to set."""
    machine.taken = {slots.slot(number)["HTTP_PORT"] for number in slots.SLOTS}
    with pytest.raises(StackError, match=r"named second: set HTTP_PORT"):
        slots.choose(tmp_path)
