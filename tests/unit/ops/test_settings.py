"""What was set stays set, and what would be more open is asked."""

from __future__ import annotations

import io
import os
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from ops import cluster, settings, slots
from ops.console import StackError
from ops.settings import Loosened

COMPOSE = Path(__file__).parents[3] / "deploy" / "compose" / "compose.yaml"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with nothing kept yet."""
    (tmp_path / "deploy" / "compose").mkdir(parents=True)
    return tmp_path


ON_ALL = "0.0.0.0"  # noqa: S104 - an example


def test_what_was_set_stays(root: Path) -> None:
    """And what else is in the file stays as it was."""
    file = settings.file(root)
    assert file == root / "deploy" / "compose" / ".env"
    file.write_text("# mine\nSOMETHING=else\nLOG_LEVEL=DEBUG\n")
    settings.keep(root, {"ACCESS": "writes", "LOG_LEVEL": "DEBUG", "HOME": "/root"})
    assert file.read_text() == "# mine\nSOMETHING=else\nLOG_LEVEL=DEBUG\nACCESS=writes\n"
    settings.keep(root, {**settings.read(root), "ACCESS": "all"})
    assert settings.read(root) == {"SOMETHING": "else", "LOG_LEVEL": "DEBUG", "ACCESS": "all"}


def test_the_environment_comes_first(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is for what it does not name."""
    settings.keep(root, {"HTTP_PORT": "18080", "ACCESS": "all"})
    monkeypatch.setattr(os, "environ", {"ACCESS": "writes"})
    settings.adopt(root)
    assert os.environ == {"ACCESS": "writes", "HTTP_PORT": "18080"}
    assert settings.port("HTTP_PORT") == 18080


@pytest.mark.parametrize("value", ["0", "65536", "eighty", "-1"])
def test_a_port_is_a_port(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is refused by its name."""
    monkeypatch.setenv("HTTP_PORT", value)
    with pytest.raises(StackError, match="HTTP_PORT is"):
        settings.port("HTTP_PORT")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("AUDIT_RETENTION", value) for value in ("", "0", "30", "400", "36500")),
        *(("APP_LOG_FILES", value) for value in ("", "2", "80")),
        *(("RATE_LIMIT", value) for value in ("", "0", "150")),
        *(("WORKERS", value) for value in ("", "1", "10")),
    ],
)
def test_numbers_that_fit(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is the default."""
    monkeypatch.setenv(name, value)
    settings.check_numbers()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("AUDIT_RETENTION", value)
            for value in ("4", "29", "-1", "36501", "a year", "400d", "²")
        ),
        *(("APP_LOG_FILES", value) for value in ("0", "1", "1001", "16m")),
        *(("RATE_LIMIT", value) for value in ("-1", "many", "1.5")),
        *(("WORKERS", value) for value in ("0", "11", "half")),
    ],
)
def test_a_number_that_does_not_fit_is_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its name, with what it may be: a slip must not remove the audit."""
    monkeypatch.setenv(name, value)
    with pytest.raises(StackError, match=f"{name} is '{value}'; it must be a number of"):
        settings.check_numbers()


def test_numbers_are_kept() -> None:
    """As all settings are."""
    assert set(settings.NUMBERS) <= set(settings.NAMES)


@pytest.mark.parametrize(
    ("kept", "now", "expected"),
    [
        ({"ACCESS": "writes"}, {"ACCESS": "open"}, [Loosened("ACCESS", "writes", "open")]),
        ({"ACCESS": "all"}, {"ACCESS": "writes"}, [Loosened("ACCESS", "all", "writes")]),
        ({"ACCESS": "writes"}, {}, [Loosened("ACCESS", "writes", "open")]),
        ({"ACCESS": "writes"}, {"ACCESS": "all"}, []),
        ({}, {"ACCESS": "open"}, []),
        ({}, {"BIND_ADDRESS": ON_ALL}, [Loosened("BIND_ADDRESS", "127.0.0.1", ON_ALL)]),
        ({}, {"BIND_ADDRESS": "192.0.2.7"}, [Loosened("BIND_ADDRESS", "127.0.0.1", "192.0.2.7")]),
        (
            {"BIND_ADDRESS": "192.0.2.7"},
            {"BIND_ADDRESS": ON_ALL},
            [Loosened("BIND_ADDRESS", "192.0.2.7", ON_ALL)],
        ),
        ({"BIND_ADDRESS": ON_ALL}, {"BIND_ADDRESS": "192.0.2.7"}, []),
        ({"BIND_ADDRESS": "192.0.2.7"}, {}, []),
        ({}, {"BIND_ADDRESS": "127.0.0.2"}, []),
        ({"EDGE_REDIRECT": "yes"}, {}, [Loosened("EDGE_REDIRECT", "yes", "no")]),
    ],
)
def test_what_is_more_open_is_found(
    kept: dict[str, str], now: dict[str, str], expected: list[Loosened]
) -> None:
    """What closes, or stays, is nothing to ask about."""
    assert settings.loosened(kept, now) == expected


def test_opening_takes_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can be asked, in the environment."""
    changes = [Loosened("ACCESS", "writes", "open")]
    monkeypatch.delenv("YES", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())  # no terminal
    with pytest.raises(StackError, match=r"ACCESS from writes to open.*YES=1"):
        settings.confirm(changes)
    monkeypatch.setenv("YES", "1")
    settings.confirm(changes)
    settings.confirm([])


@pytest.mark.parametrize(
    ("kept", "now"), [({}, {"PG_MAJOR": "18"}), ({"PG_MAJOR": "18"}, {"PG_MAJOR": "17"})]
)
def test_a_stack_stays_on_its_major(kept: dict[str, str], now: dict[str, str]) -> None:
    """An image of another one would find data that it cannot read, on each node."""
    with pytest.raises(StackError, match=r"stack's data are of PostgreSQL 1[78].*docs/upgrade\.md"):
        settings.require_major(kept, now)


@pytest.mark.parametrize(
    ("kept", "now"),
    [({}, {}), ({}, {"PG_MAJOR": "17"}), ({"PG_MAJOR": "18"}, {"PG_MAJOR": "18"})],
)
def test_its_own_major_is_no_change(kept: dict[str, str], now: dict[str, str]) -> None:
    """Said or not."""
    settings.require_major(kept, now)
    assert "PG_MAJOR" in settings.NAMES  # so that it is said again at the next `make up`


def test_each_stack_keeps_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for one is nothing to another of the same checkout."""
    settings.keep(root, {"ACCESS": "writes"})
    monkeypatch.setenv("NAME", "second")
    assert settings.read(root) == {}
    settings.keep(root, {"HTTP_PORT": "18080"})
    assert settings.read(root) == {"HTTP_PORT": "18080"}
    monkeypatch.delenv("NAME")
    assert settings.read(root) == {"ACCESS": "writes"}


@pytest.mark.parametrize(
    ("bound", "asked"), [("", "127.0.0.1"), (ON_ALL, "127.0.0.1"), ("192.0.2.7", "192.0.2.7")]
)
def test_the_ports_are_asked_where_they_are_published(
    bound: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On all addresses means on loopback, too."""
    monkeypatch.setenv("BIND_ADDRESS", bound)
    assert settings.published_on() == asked


def test_where_a_stack_is_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its ports, and both networks."""
    monkeypatch.setattr(os, "environ", {"HTTP_PORT": "18080", "EDGE_SUBNET": "172.30.2.0/24"})
    assert settings.where() == {
        "ports": "http 18080, https 8443, stats 8404, write 6432, read 6433",
        "networks": "edge 172.30.2.0/24, database 172.30.1.0/24",
    }


def test_a_stack_that_was_never_up_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load for it would be one for the first stack."""
    monkeypatch.setattr(os, "environ", {"NAME": "second", "HTTP_PORT": "18080"})
    assert set(settings.where().values()) == {"chosen at the first `make up`"}
    with pytest.raises(StackError, match=r"no stack second .*NAME=second make up"):
        cluster.service_url()
    os.environ.update(slots.slot(1))
    assert cluster.service_url() == "http://127.0.0.1:18080"


@pytest.mark.parametrize("value", ["localhost", "::1", "127.0.0.1:80", "127.0.0"])
def test_a_bind_address_is_an_address(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is refused by its name."""
    monkeypatch.setenv("BIND_ADDRESS", value)
    with pytest.raises(StackError, match=r"BIND_ADDRESS is .*IPv4 address"):
        settings.bind_address()


def test_ports_are_those_of_the_compose_file() -> None:
    """Each is published under the variable that is kept for it."""
    published = yaml.safe_load(COMPOSE.read_text())["services"]["vip-access"]["ports"]
    wanted = {f"${{{name}:-{port}}}:{port}" for name, port in settings.PORTS.items()}
    assert {each.partition("}:")[2] for each in published} == wanted
    assert set(settings.PORTS) <= set(settings.NAMES)


@pytest.mark.parametrize(
    ("kept", "now", "asked"),
    [
        ({}, "30", True),
        ({}, "400", False),
        ({"AUDIT_RETENTION": "30"}, "30", False),
        ({"AUDIT_RETENTION": "30"}, "400", False),
        ({"AUDIT_RETENTION": "0"}, "400", True),
        ({"AUDIT_RETENTION": "30"}, "0", False),
    ],
)
def test_what_shortens_the_audit_is_asked(
    monkeypatch: pytest.MonkeyPatch, kept: dict[str, str], now: str, *, asked: bool
) -> None:
    """400 days where nothing was said, 0 is for ever."""
    monkeypatch.delenv("YES", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(StackError, match="YES=1") if asked else nullcontext():
        settings.confirm_retention(kept, {"AUDIT_RETENTION": now})
