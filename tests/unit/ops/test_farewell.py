"""What `make up` says at its end can be pasted as it is, for whichever stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops import farewell, settings


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BIND_ADDRESS", *settings.PORTS, *settings.SUBNETS):
        monkeypatch.delenv(name, raising=False)


def test_of_the_first_stack() -> None:
    """Nothing of names."""
    said = farewell.text(Path("deploy/compose/secrets"))
    assert "Holdfast is up.\n" in said
    assert "http://localhost:8080/api/users" in said
    assert "docker kill $(make -s primary)" in said
    assert "docker start postgres1 postgres2" in said
    assert '{"email": "grace@example.org"' in said


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
