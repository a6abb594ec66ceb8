"""What `make test` leaves out has a target of its own that runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
LONG = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "tests" / "stack").glob("test_*.py")
    if "mark.long" in path.read_text(encoding="utf-8")
)


def test_there_are_some() -> None:
    """Else nothing is asked below."""
    assert len(LONG) > 5


@pytest.mark.parametrize("file", LONG)
def test_a_long_form_is_run_by_a_target(file: str) -> None:
    """A test that nobody can start by name is soon one that fails."""
    assert file in MAKEFILE
