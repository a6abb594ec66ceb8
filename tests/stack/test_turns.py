"""Every alert in its turn on the real stack: brought to Alertmanager, told, and told to be over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stack.support import wait_until
from tests.stack.turns import PASSED, SOON, TURNS
from tests.stack.watched import OVER_LIMIT, TOLD_LIMIT, Watched, monitoring, use_thresholds
from tests.unit.test_alerts import ALERTS

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def watched(running_stack: None) -> Iterator[Watched]:  # noqa: ARG001 - ordering only
    """A stack whose alerts come at once."""
    with monitoring(SOON, WORKERS="2") as watched:
        yield watched


def test_thresholds_that_a_stack_which_is_well_is_past(watched: Watched) -> None:
    """What takes days to come, or all of a machine."""
    moved = {name: value for each in PASSED.values() for name, value in each.items()}
    use_thresholds(SOON | moved)
    try:
        watched.await_alerts(*PASSED)
    finally:
        use_thresholds(SOON)
    _await_end(watched, *PASSED)


@pytest.mark.parametrize("name", TURNS)
def test_a_fault_is_told_and_told_to_be_over(watched: Watched, name: str) -> None:
    """By Alertmanager, and to people, unless it is only for information."""
    fault, alerts = TURNS[name]
    watched.receiver.told["/hook"].clear()
    with fault(watched.receiver):
        watched.await_alerts(*alerts)
    _await_end(watched, *alerts)


def _await_end(watched: Watched, *alerts: str) -> None:
    """What nobody was told of because of a greater one need not be told to be over."""
    wait_until("their end", OVER_LIMIT, lambda: not set(alerts) & set(watched.firing()))
    hook = watched.receiver
    people = {each for each in alerts if ALERTS[each]["labels"]["severity"] != "info"}
    wait_until(
        "good news of all that was told",
        TOLD_LIMIT,
        lambda: people & hook.alerts("firing") <= hook.alerts("resolved"),
    )
