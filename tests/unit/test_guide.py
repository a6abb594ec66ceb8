"""docs/how-to-use-it.md names what the package exports, and its options with their defaults."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

from service import database
from service.database import DatabaseOptions, EndpointOptions, RetryPolicy
from service.settings import Settings

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "how-to-use-it.md").read_text()
NO_DEFAULT = "required"


def table(first: str) -> list[list[str]]:
    """Return the rows of the guide's table whose header begins so."""
    after = GUIDE.split(f"| {first}", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in row[2:-2].split(" | ")] for row in after.splitlines()[2:]]


def quoted(cell: str) -> list[str]:
    """Return what a cell has in backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def options() -> dict[str, str]:
    """Return each option, as the guide calls it, with its default."""
    found = {}
    for prefix, kind in (
        ("", DatabaseOptions),
        ("write.", EndpointOptions),
        ("retry.", RetryPolicy),
    ):
        for each in fields(kind):
            default = NO_DEFAULT if each.default is MISSING else repr(each.default)
            found[prefix + each.name] = default.removesuffix(".0")
    return {name: found[name] for name in found.keys() - {"write", "read", "retry"}}


def listed() -> dict[str, str]:
    """Return what the table of options says."""
    found = {}
    for names, defaults, _ in table("option |"):
        options = [name for name in quoted(names) if name != "read"]
        said = [NO_DEFAULT] * len(options) if defaults == NO_DEFAULT else defaults.split(", ")
        found |= dict(zip(options, said, strict=True))
    return {name: default.replace("`", "").replace('"', "'") for name, default in found.items()}


def test_every_name_is_listed_once() -> None:
    """The table of names has what the package exports, and nothing else."""
    names = [name for row in table("names of `ledger.database`") for name in quoted(row[0])]
    assert sorted(names) == sorted(database.__all__)


def test_every_option_is_listed_with_its_default() -> None:
    """The table of options has each field of the three dataclasses, and its default."""
    assert listed() == options()


def test_each_variable_is_a_setting() -> None:
    """What stands in the last column is a setting of the service."""
    variables = {name for row in table("option |") for name in quoted(row[2])}
    assert len(variables) > 20
    assert {name for name in variables if name.lower() not in Settings.model_fields} == set()
