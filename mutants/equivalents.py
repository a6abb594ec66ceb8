"""Mutants that no test can kill, as they do the same: each with its reason."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FILE = "mutants/equivalents.toml"
Name = tuple[str, str, str]
"""File, line and change, as `Mutant.name`."""


def load(root: Path) -> dict[Name, str]:
    """Return the reason of each known equivalent."""
    path = root / FILE
    if not path.exists():
        return {}
    return {
        (each["file"], each["line"], change): each["reason"]
        for each in tomllib.loads(path.read_text()).get("equivalent", ())
        for change in each["changes"]
    }
