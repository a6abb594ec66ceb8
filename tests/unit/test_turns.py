"""tests/stack/turns.py leaves no alert out."""

from __future__ import annotations

from tests.stack import test_monitoring, test_pooler, turns
from tests.unit.test_alerts import ALERTS


def test_every_alert_has_its_turn_on_the_real_stack() -> None:
    """A fault that brings it, a threshold that is moved (turns.py), or a test of its own."""
    told = [alert for _, brought in turns.TURNS.values() for alert in brought]
    assert {*told, *turns.PASSED, *turns.ELSEWHERE} == ALERTS.keys()
    shown = (*vars(test_monitoring), *vars(test_pooler))
    assert set(turns.ELSEWHERE.values()) <= set(shown)
