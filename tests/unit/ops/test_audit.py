"""What is made of the answers of pip-audit."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from ops import audit
from ops.names import ROOT

if TYPE_CHECKING:
    import pytest

GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "Dependency not found"}


def test_a_known_vulnerability_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """With its name, and the version that mends it."""
    assert audit.report([GOOD, BAD]) == 1
    assert "bad 1.0: PYSEC-1, mended in 1.1" in capsys.readouterr().out


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """What could not be asked for is counted."""
    assert audit.report([GOOD, UNKNOWN]) == 0
    assert "1 without a known vulnerability, 1 that nobody knows" in capsys.readouterr().out


def test_nobody_could_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """That is said, not taken for a clean bill."""
    assert audit.report([UNKNOWN]) == 0
    assert "not run" in capsys.readouterr().out


def test_each_package_has_one_version() -> None:
    """In all lists: what is tested is what runs, and pip-audit asks about none that has two."""
    versions: dict[str, set[str]] = defaultdict(set)
    for name in audit.REQUIREMENTS:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        for package, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE):
            versions[package].add(version)
    assert {package: found for package, found in versions.items() if len(found) > 1} == {}
