"""A test that did not run has shown nothing: under CI=true that is a failure."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator


def pytest_configure() -> None:
    """Let SIGINT interrupt, also where a background shell has had it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where the machine must be able to run everything."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and call.excinfo is not None:
        report.outcome = "failed"
        report.longrepr = f"not run under CI=true: {item.nodeid}: {call.excinfo.value}"
    return report
