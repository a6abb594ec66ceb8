"""A test that did not run has shown nothing: under CI=true that is a failure."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
import structlog
import uvloop
from hypothesis import HealthCheck, Phase, settings

from service.observability import exceptions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping


# HYPOTHESIS_PROFILE chooses. "check" takes the same examples each time; "long" takes new ones, and
# remembers those that fail in .hypothesis. "mutants" ends with the first failure: nobody reads it.
# No bound for one example: whatever waits has its own.
settings.register_profile("check", max_examples=100, deadline=None, derandomize=True)
settings.register_profile(
    "long",
    max_examples=2000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "mutants", settings.get_profile("check"), phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))


SHOWN = 800
"""Characters of a failure's message that the summary has."""


def pytest_configure() -> None:
    """Let SIGINT interrupt, also where a background shell has had it ignored.

    And have exceptions logged as the service does: structlog's own way takes seconds for one.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.ExceptionRenderer(exceptions.describe),
            structlog.processors.JSONRenderer(),
        ]
    )


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End with the failures in brief: pytest's own summary quotes whole messages under CI=true."""
    for kind in ("failed", "error"):
        for report in terminalreporter.getreports(kind):
            crash = getattr(report.longrepr, "reprcrash", None)
            message = crash.message if crash else str(report.longrepr)
            terminalreporter.write_line(f"{kind.upper()} {report.nodeid}: {message[:SHOWN]}")


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests marked `uvloop` on the event loop that the service runs on.

    It differs from asyncio's own in small things, such as a handle that has no time. Not all tests:
    after one that failed, closing its loop may hang in C, where no timeout of a test reaches.
    """
    if item.get_closest_marker("uvloop"):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


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
