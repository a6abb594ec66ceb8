"""Every alert in its turn on the real stack: brought to Alertmanager, told, and told to be over."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from tests.mail import receiving
from tests.stack.support import Writer, kill, make, other, primary, start, wait_until
from tests.stack.turns import PASSED, SOON, TURNS, self_signed
from tests.stack.watched import HOST, OVER_LIMIT, TOLD_LIMIT, Watched, monitoring, try_thresholds
from tests.unit.test_alerts import ALERTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def watched(running_stack: None) -> Iterator[Watched]:  # noqa: ARG001 - ordering only
    """A stack whose alerts come at once."""
    with monitoring(SOON, WORKERS="2") as watched:
        yield watched


def test_thresholds_that_a_stack_which_is_well_is_past(watched: Watched) -> None:
    """What takes days to come, or all of a machine."""
    moved = {name: value for each in PASSED.values() for name, value in each.items()}
    with Writer():  # nobody's requests, nobody's budget
        try_thresholds(SOON | moved)
        try:
            watched.await_alerts(*PASSED)
        finally:
            try_thresholds(SOON)
    _await_end(watched, *PASSED)


@pytest.mark.parametrize("name", TURNS)
def test_a_fault_is_told_and_told_to_be_over(watched: Watched, name: str) -> None:
    """By Alertmanager, and to people, unless it is only for information."""
    fault, alerts = TURNS[name]
    watched.receiver.told["/hook"].clear()
    with fault(watched.receiver):
        watched.await_alerts(*alerts)
    _await_end(watched, *alerts)


def test_people_are_told_by_mail(watched: Watched, tmp_path: Path) -> None:
    """By a server that a CA of one's own vouches for, and only after a login, by TLS."""
    certificate = tmp_path / "mail.pem"
    certificate.write_bytes(self_signed("mail", f"subjectAltName=IP:{HOST}"))
    standby = other(primary())
    with receiving(HOST, certificate) as server:
        said = {
            "ALERT_EMAIL": "people@example.org",
            "ALERT_FROM": "stack@example.org",
            "ALERT_SMTP": f"{HOST}:{server.port}",
            "ALERT_SMTP_USER": "stack",
            "ALERT_SMTP_PASSWORD": "a-password",
            "ALERT_CA": str(certificate),
        }
        try:
            make("up", MONITORING="yes", **said)
            kill(standby)
            name = "[holdfast] firing: DataNodeDown"
            wait_until("bad news", TOLD_LIMIT, lambda: name in server.subjects())
            start(standby)
            name = "[holdfast] resolved: DataNodeDown"
            wait_until("good news", OVER_LIMIT + TOLD_LIMIT, lambda: name in server.subjects())
            login = base64.b64encode(b"\0stack\0a-password").decode()
            assert server.logins == {login}
            assert {each["to"] for each in server.messages} == {"people@example.org"}
        finally:
            make("up", MONITORING="yes", **dict.fromkeys(said, ""))
    _await_end(watched, "DataNodeDown")


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
