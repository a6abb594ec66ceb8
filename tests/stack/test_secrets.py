"""Secrets that change beneath a running stack: lost and made anew, not set yet, or imported."""

from __future__ import annotations

import shutil
import ssl
from typing import TYPE_CHECKING

import httpx

from ops import operate
from ops.secret_export import CONTENTS
from ops.secret_files import PASSWORDS
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    REDUNDANT_LIMIT,
    ROOT,
    SECRETS,
    docker,
    is_whole,
    make,
    new_user,
    primary,
    psql,
    read_back,
    run,
    sql,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path


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
    psql(old, other)
    operate.switchover()
    assert primary() == standby
    wait_until("a login with the password of the secrets", REDUNDANT_LIMIT, _can_log_in)
    with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
        assert client.post("/api/users", json=new_user("secrets")).status_code == 201


def test_a_stack_goes_on_with_the_secrets_of_an_export(tmp_path: Path) -> None:
    """Lost, all of them, and imported: clients notice nothing, those who know its CA included."""
    file, lost = str(tmp_path / "stack.age"), ROOT / ".holdfast" / "lost-secrets"
    with httpx.Client(base_url=BASE_URL, timeout=CLIENT_TIMEOUT) as client:
        created = client.post("/api/users", json=new_user("secrets"))
        _secrets("export", file)
        lost.parent.mkdir(exist_ok=True)
        SECRETS.rename(lost)
        try:
            _secrets("import", file)
            make("up")
            for name in CONTENTS:
                assert (SECRETS / name).read_bytes() == (lost / name).read_bytes(), name
            wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)
            known = ssl.create_default_context(cafile=str(lost / "tls" / "edge" / "ca.crt"))
            with httpx.Client(verify=known, timeout=CLIENT_TIMEOUT) as other:
                assert other.get("https://localhost:8443/livez").status_code == 200
            assert read_back(client, created).status_code == 200
            assert client.post("/api/users", json=new_user("secrets")).status_code == 201
        finally:
            if SECRETS.exists():
                shutil.rmtree(lost)
            else:
                lost.rename(SECRETS)


def _secrets(verb: str, file: str) -> None:
    done = run("ops.cli", "secrets", verb, file, HOLDFAST_PASSPHRASE="of these tests alone")
    assert done.returncode == 0, done.stdout


def _can_log_in() -> bool:
    try:
        return sql("SELECT 1") == ["1"]
    except AssertionError:
        return False
