"""ops.alerts: whom Alertmanager tells is said in full, and addresses that speak are files."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from ops import alerts, authorities, settings
from ops.console import StackError
from ops.secret_files import ALERT_CA, ALERT_FILES, ALERT_WEBHOOK, SecretFiles

if TYPE_CHECKING:
    from pathlib import Path

MAIL = {
    "ALERT_EMAIL": "people@example.org",
    "ALERT_FROM": "stack@example.org",
    "ALERT_SMTP": "mail.example.org:587",
}


@pytest.fixture
def files(tmp_path: Path) -> SecretFiles:
    """Secrets as the first `make up` makes them."""
    files = SecretFiles(tmp_path / "secrets")
    files.make()
    return files


@pytest.mark.parametrize("missing", MAIL)
def test_mail_is_said_in_full(missing: str, files: SecretFiles) -> None:
    """Or not at all."""
    alerts.check({}, files)
    alerts.check(MAIL, files)
    with pytest.raises(StackError, match=rf"need {missing}, too"):
        alerts.check({**MAIL, missing: ""}, files)


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("ALERT_SMTP", "mail:25", True),
        *(("ALERT_SMTP", value, False) for value in ("mail", "smtp://mail:25", "mail:x", "a b:25")),
        *(("ALERT_EMAIL", value, False) for value in ("people", "a@b@c", "a@b, c@d", "a\n@b")),
        ("ALERT_WEBHOOK", "https://alerts.example.org/hook?key=1", True),
        *(("ALERT_WEBHOOK", value, False) for value in ("webhook.test", "ftp://a", "http://a b")),
        ("ALERT_HEARTBEAT", "http://10.0.0.7:8000/", True),
        ("ALERT_SMTP_PASSWORD", "a b", False),
        ("ALERT_SMTP_USER", 'a"b', False),
    ],
)
def test_what_cannot_be_is_refused(
    name: str, value: str, files: SecretFiles, *, fits: bool
) -> None:
    """By its name; what is secret is not repeated."""
    expected = nullcontext() if fits else pytest.raises(StackError, match=f"{name} is ")
    with expected as refused:
        alerts.check({**MAIL, name: value}, files)
    assert name not in alerts.SECRETS or value not in str(refused)


def test_an_address_is_a_file_until_it_is_emptied(files: SecretFiles) -> None:
    """And another one is another file, so that its container is made anew."""
    before = files.digest(ALERT_FILES)
    alerts.keep({"ALERT_WEBHOOK": "https://a.example.org/"}, files)
    assert files.read(ALERT_WEBHOOK) == "https://a.example.org/"
    told = files.digest(ALERT_FILES)
    assert told != before
    alerts.keep({}, files)
    assert files.digest(ALERT_FILES) == told
    alerts.keep({"ALERT_WEBHOOK": ""}, files)
    assert files.read(ALERT_WEBHOOK) == ""


def test_a_ca_is_copied(files: SecretFiles, tmp_path: Path) -> None:
    """From a file that has one; until it is emptied."""
    file = tmp_path / "ca.crt"
    for content, says in ((None, "cannot be read"), ("a key", "PEM")):
        if content:
            file.write_text(content)
        with pytest.raises(StackError, match=f"ALERT_CA is .*{says}"):
            alerts.check({"ALERT_CA": str(file)}, files)
    file.write_text(authorities.PEM)
    alerts.check({"ALERT_CA": str(file)}, files)
    alerts.keep({"ALERT_CA": str(file)}, files)
    alerts.keep({}, files)
    assert files.read(ALERT_CA) == authorities.PEM
    alerts.keep({"ALERT_CA": ""}, files)
    assert files.read(ALERT_CA) == ""


def test_no_secret_is_kept_as_a_setting() -> None:
    """What is kept can be read by whoever reads `.env`."""
    assert not set(alerts.SECRETS) & set(settings.NAMES)
    assert set(alerts.SETTINGS) <= set(settings.NAMES)


def test_a_user_and_a_password_go_together(files: SecretFiles) -> None:
    """Half of it would fail at each message, and nobody would be told."""
    alerts.check({**MAIL, "ALERT_SMTP_USER": "stack", "ALERT_SMTP_PASSWORD": "secret"}, files)
    for half in ({"ALERT_SMTP_USER": "stack"}, {"ALERT_SMTP_PASSWORD": "secret"}):
        with pytest.raises(StackError, match="go together"):
            alerts.check({**MAIL, **half}, files)
    alerts.keep({"ALERT_SMTP_PASSWORD": "secret"}, files)
    alerts.check({**MAIL, "ALERT_SMTP_USER": "stack"}, files)
