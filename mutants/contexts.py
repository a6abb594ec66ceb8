"""A plugin for pytest: tells coverage which test is running, and notes how long each one took.

Loaded with `-p mutants.contexts`, where coverage is running. A test's fixtures count as the test's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import coverage
import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

RESULTS = "MUTANTS_RESULTS"
"""The variable that names the file to write."""

_took: dict[str, float] = {}
_failed: dict[str, str] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool, bool]:
    """Let what runs now count as this test's."""
    running = coverage.Coverage.current()
    assert running is not None  # noqa: S101 - for type checkers
    running.switch_context(item.nodeid)
    done = yield
    running.switch_context("")
    return done


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how long a test took, fixtures included, and whether it passes without a fault."""
    _took[report.nodeid] = _took.get(report.nodeid, 0.0) + report.duration
    if not report.passed:
        _failed[report.nodeid] = (report.longreprtext.splitlines() or [report.outcome])[-1]


def pytest_sessionfinish() -> None:
    """Write down what was noted."""
    passed = {name: took for name, took in _took.items() if name not in _failed}
    Path(os.environ[RESULTS]).write_text(json.dumps({"passed": passed, "failed": _failed}))
