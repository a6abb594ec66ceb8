"""Secrets that change beneath a running stack: lost and made anew, or not set yet."""

from __future__ import annotations

import httpx

from ops import operate
from ops.secret_files import PASSWORDS
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    REDUNDANT_LIMIT,
    SECRETS,
    docker,
    is_whole,
    make,
    new_user,
    primary,
    read_back,
    sql,
    wait_until,
)


def test_up_with_other_secrets_keeps_the_data() -> None:
    """A checkout that has lost its secrets makes new ones: the roles get them."""
    with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
        created = client.post("/api/users", json=new_user("secrets"))
        for name in PASSWORDS:
            (SECRETS / name).unlink()
        make("up")
        assert read_back(client, created).status_code == 200
        assert client.post("/api/users", json=new_user("secrets")).status_code == 201


def test_a_promoted_standby_sets_the_passwords_it_was_started_with() -> None:
    """New secrets, and a handover that was cut short by a stop: no primary has set them yet."""
    old = primary()
    standby = next(name for name in ("postgres1", "postgres2") if name != old)
    docker("restart", standby)
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)
    other = "ALTER ROLE holdfast_app PASSWORD 'of-other-secrets'"
    docker("exec", old, "psql", "-d", "postgres", "-qAt", "-c", other)
    operate.switchover()
    assert primary() == standby
    wait_until("a login with the password of the secrets", REDUNDANT_LIMIT, _can_log_in)
    with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
        assert client.post("/api/users", json=new_user("secrets")).status_code == 201


def _can_log_in() -> bool:
    try:
        return sql("SELECT 1") == ["1"]
    except AssertionError:
        return False
