"""Whom Alertmanager tells: a webhook, people by e-mail, and whoever waits for a sign of life.

Addresses of webhooks are secrets, as whoever has one may speak; they and the mail server's password
are files among the stack's secrets (ops/secret_files.py), as is the CA that vouches for them. The
rest is kept as all settings are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ops import authorities
from ops.console import StackError
from ops.secret_files import ALERT_CA, ALERT_HEARTBEAT, ALERT_SMTP_PASSWORD, ALERT_WEBHOOK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.secret_files import SecretFiles

ADDRESS = re.compile(r"[^\s@,\"']+@[^\s@,\"']+")
SETTINGS = {
    "ALERT_EMAIL": (ADDRESS, "an e-mail address"),
    "ALERT_FROM": (ADDRESS, "an e-mail address"),
    "ALERT_SMTP": (
        re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?:[1-9][0-9]{0,4}"),
        "a mail server's host:port, such as mail.example.org:587",
    ),
    "ALERT_SMTP_USER": (re.compile(r"[^\s\"']+"), "a user's name at the mail server"),
}
"""What is kept: what each may be, and the same in words."""

URL = re.compile(r"https?://[^\s\"']+")
SECRETS = {
    "ALERT_WEBHOOK": (ALERT_WEBHOOK, URL, "an address such as https://alerts.example.org/hook"),
    "ALERT_HEARTBEAT": (ALERT_HEARTBEAT, URL, "an address such as https://hc.example.org/id"),
    "ALERT_SMTP_PASSWORD": (ALERT_SMTP_PASSWORD, re.compile(r"\S+"), "a password without blanks"),
}
"""Variables that become files, what each may be, and the same in words."""

CA = "ALERT_CA"
"""A file of certificates, beside those that Debian trusts."""

MAIL = ("ALERT_EMAIL", "ALERT_FROM", "ALERT_SMTP")
"""A message needs all of them."""


def check(environment: Mapping[str, str], files: SecretFiles) -> None:
    """Raise StackError that names what is missing, or cannot be."""
    forms = {**SETTINGS, **{name: (form, words) for name, (_, form, words) in SECRETS.items()}}
    for name, (form, words) in forms.items():
        value = environment.get(name)
        if value and not form.fullmatch(value):
            shown = "set" if name in SECRETS else f"'{value}'"
            raise StackError(f"{name} is {shown}; it must be {words}")
    missing = [name for name in MAIL if not environment.get(name)]
    if 0 < len(missing) < len(MAIL):
        raise StackError(f"Alerts by e-mail need {' and '.join(missing)}, too; or none of {MAIL}.")
    authorities.read(CA, environment.get(CA, ""))
    password = environment.get("ALERT_SMTP_PASSWORD", files.read(ALERT_SMTP_PASSWORD))
    if bool(environment.get("ALERT_SMTP_USER")) != bool(password):
        raise StackError("ALERT_SMTP_USER and ALERT_SMTP_PASSWORD go together: both, or neither.")


def keep(environment: Mapping[str, str], files: SecretFiles) -> None:
    """Write what was said into the files; what is not said stays, and what is empty is emptied."""
    for name, (file, *_) in SECRETS.items():
        if name in environment:
            files.put(file, environment[name])
    if CA in environment:
        files.put(ALERT_CA, authorities.read(CA, environment[CA]))
