"""What `make up` says at its end can be pasted as it is, for whichever stack."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ops import farewell, settings
from ops.cli.main import app

SECRETS = Path("deploy/compose/secrets")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BIND_ADDRESS", "MONITORING", *settings.ALL_PORTS, *settings.SUBNETS):
        monkeypatch.delenv(name, raising=False)


def test_of_the_first_stack() -> None:
    """Nothing of names."""
    said = farewell.text(Path("deploy/compose/secrets"))
    assert "Holdfast is up.\n" in said
    assert "http://localhost:8080/api/users" in said
    assert "docker kill $(make -s primary)" in said
    assert "docker start postgres1 postgres2" in said
    assert '{"email": "barbara@example.org"' in said


def test_of_another_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is in every command, its containers have their prefix."""
    monkeypatch.setenv("NAME", "second")
    monkeypatch.setenv("HTTP_PORT", "18080")
    monkeypatch.setenv("EDGE_SUBNET", "172.30.2.0/24")
    said = farewell.text(Path("deploy/compose/stacks/second/secrets"))
    assert "as the stack second" in said
    assert "http://localhost:18080/api/users" in said
    assert "docker kill $(NAME=second make -s primary)" in said
    assert "docker start second-postgres1 second-postgres2" in said
    assert "deploy/compose/stacks/second/secrets/db_password" in said
    assert "172.30.2.0/24 (virtual IP 172.30.2.100)" in said
    commands = [word for word in said.split("`") if "make" in word]
    assert all("NAME=second" in word for word in commands)


def test_it_says_whether_somebody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And where; or how that is added."""
    assert "`MONITORING=yes make up` adds that" in farewell.text(SECRETS)
    monkeypatch.setenv("MONITORING", "yes")
    monkeypatch.setenv("PROMETHEUS_PORT", "19090")
    said = farewell.text(SECRETS)
    assert "https://localhost:19090/alerts" in said
    assert "https://localhost:9093/" in said
    assert "adds that" not in said


def command(text: str, name: str) -> list[str]:
    """The words of the first such command in a text, its continued lines included."""
    found = re.search(rf"{re.escape(name)}(?:.*\\\n)*.*", text)
    assert found is not None
    return shlex.split(found[0].replace("\\\n", " "))


def test_an_open_stack_is_told_without_tokens() -> None:
    """The request has what it needs, and no more."""
    text = farewell.text(SECRETS)
    assert "TOKEN" not in text
    assert command(text, "curl")[-1].startswith('{"email": ')


@pytest.mark.parametrize("access", ["writes", "all"])
def test_a_stack_that_asks_for_tokens_says_how_to_make_one(access: str) -> None:
    """With a command that there is, and a request that sends it."""
    text = farewell.text(SECRETS, access)
    assert "authorization: Bearer $TOKEN" in command(text, "curl")
    made = re.search(r"TOKEN=\$\(\./holdfast (.*)\)", text)
    assert made is not None
    assert vars(app.parser().parse_args(made[1].split()))["scope"] == ["read", "write"]
    assert f"ACCESS={access}" in text
    assert "HOLDFAST_TOKEN" in text


def test_what_the_machine_lacks_is_the_last_thing_said() -> None:
    """It is what is read."""
    assert farewell.text(SECRETS, None, ["Too small.", "1 processor."]).endswith(
        "  ! Too small.\n  ! 1 processor."
    )
