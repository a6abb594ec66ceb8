"""Secrets that change beneath a running stack: rotated, or those of another checkout."""

from __future__ import annotations

import subprocess
import sys

import httpx

from ops.stack import SECRETS
from tests.stack.support import BASE_URL, CLIENT_TIMEOUT, ROOT, new_user

UP_LIMIT = 300.0
"""Seconds for `make up` with its images made."""


def test_up_with_other_secrets_keeps_the_data() -> None:
    """A second checkout, or one without its secrets, makes new ones: the roles get them."""
    with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
        location = client.post("/api/users", json=new_user("secrets")).headers["location"]
        for name in SECRETS:
            (ROOT / "deploy" / "compose" / "secrets" / name).unlink()
        done = subprocess.run(
            [sys.executable, "-m", "ops", "up"],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=UP_LIMIT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert client.get(location).status_code == 200
        assert client.post("/api/users", json=new_user("secrets")).status_code == 201
