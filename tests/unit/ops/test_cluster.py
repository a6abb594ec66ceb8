"""How the operator's view reads what Docker and the monitor say."""

from __future__ import annotations

import json

import pytest

from ops import cluster
from ops.cluster import Container


@pytest.mark.parametrize(
    ("name", "state", "status", "condition", "ready"),
    [
        ("app1", "running", "Up 3 seconds (healthy)", "healthy", True),
        ("app1", "running", "Up 3 seconds (unhealthy)", "unhealthy", False),
        ("app1", "running", "Up 3 seconds (health: starting)", "starting", False),
        ("app1", "created", "Created", "starting", False),
        ("app1", "exited", "Exited (137) 2 minutes ago", "Exited (137) 2 minutes ago", False),
        ("app1", "exited", "Exited (0) 2 minutes ago", "Exited (0) 2 minutes ago", False),
        ("db-migrate", "exited", "Exited (0) 2 minutes ago", "done", True),
        ("db-migrate", "exited", "Exited (1) 2 minutes ago", "Exited (1) 2 minutes ago", False),
        ("db-migrate", "running", "Up 1 second (health: starting)", "starting", False),
    ],
)
def test_a_containers_condition(
    name: str, state: str, status: str, condition: str, ready: bool
) -> None:
    """Only a healthy container is ready, and the one-shot one when it ended well."""
    container = Container(name, state, status)
    assert container.condition == condition
    assert container.ready is ready


def test_only_a_failed_migration_is_hopeless() -> None:
    """Anything else may still become healthy: it is restarted, or started by the operator."""
    assert Container("db-migrate", "exited", "Exited (1) 1 second ago").hopeless
    assert not Container("db-migrate", "exited", "Exited (0) 1 second ago").hopeless
    assert not Container("app1", "exited", "Exited (1) 1 second ago").hopeless


def test_containers_go_by_their_members_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the stack's name is; those of another stack are not asked for."""
    asked: list[tuple[str, ...]] = []

    def docker(*arguments: str) -> str:
        asked.append(arguments)
        row = {"Names": "second-app1", "State": "running", "Status": "Up 3 seconds (healthy)"}
        return json.dumps(row)

    monkeypatch.setenv("NAME", "second")
    monkeypatch.setattr(cluster, "docker", docker)
    assert [each.name for each in cluster.containers()] == ["app1"]
    assert "label=com.docker.compose.project=second" in asked[0]


def test_a_container_knows_of_when_its_packages_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a label of its image, wherever that stands among others; one without says nothing."""
    row = {"Names": "app1", "State": "running", "Status": "Up 1 second (healthy)"}
    first, second = "holdfast.updated=2026-11-27T04:00:00+00:00", "holdfast.updated=2026-11-28"
    labels = [f"{first},x=y", f"a=b,{second}", "a=b"]
    rows = [{**row, "Names": f"app{n}", "Labels": each} for n, each in enumerate(labels)]
    text = "\n".join(map(json.dumps, rows))
    monkeypatch.setattr(cluster, "docker", lambda *_: text)
    assert [each.updated for each in cluster.containers()] == [
        "2026-11-27T04:00:00+00:00",
        "2026-11-28",
        "",
    ]
