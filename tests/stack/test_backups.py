"""A stack with a repository of backups: what is archived, what comes back, what a failover changes.

The tests of this file build on one another, in their order, on a stack of their own.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.stack.support import (
    CLIENT_TIMEOUT,
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    docker,
    new_user,
    run,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "saved"
URL = "http://127.0.0.1:18080"

UP_LIMIT = 600.0
"""Seconds for this stack to come up beside the first, images being there."""

FIRST_LIMIT = 180.0
"""Seconds for the first full backup: what is promised."""

ARCHIVED_LIMIT = 90.0
"""Seconds for a segment to be archived: a minute until it is ended in any case, and some."""

RESTORE_LIMIT = 180.0
"""Seconds for a copy of a small database; measured is under 20."""

USERS = 50


def holdfast(*words: str, limit: float = RESTORE_LIMIT) -> str:
    """Run a command of this stack, which must end well."""
    done = run("ops.cli", *words, limit=limit, NAME=NAME)
    assert done.returncode == 0, done.stdout
    return done.stdout


def listed() -> dict[str, object]:
    """Return what `holdfast backup list` has."""
    found: dict[str, object] = json.loads(holdfast("backup", "list", "--json"))
    return found


def runs(*kind: str) -> bool:
    """Take a backup, unless another is being taken."""
    return run("ops.cli", "backup", "run", *kind, NAME=NAME).returncode == 0


def create_user() -> str:
    """Return the e-mail address of a user that was acknowledged."""
    user = new_user("backup")
    answer = httpx.post(f"{URL}/api/users", json=user, timeout=CLIENT_TIMEOUT)
    assert answer.status_code == 201, answer.text
    return user["email"]


def ask(container: str, sql: str) -> str:
    """Return what a statement says as the superuser of a container's PostgreSQL."""
    psql = ("psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", "holdfast", "-c")
    return docker("exec", container, *psql, sql).strip()


def primary() -> str:
    """Return the container that accepts writes, or nothing."""
    done = run("ops", "primary", NAME=NAME)
    return done.stdout.strip() if done.returncode == 0 else ""


def is_well() -> bool:
    """Tell what `holdfast status` says."""
    return run("ops.cli", "status", NAME=NAME).returncode == 0


@pytest.fixture(scope="module", autouse=True)
def saved(running_stack: None) -> Iterator[None]:  # noqa: ARG001 - ordering only
    """The stack; nothing of it is left afterwards."""
    up = run("ops", "up", limit=UP_LIMIT, NAME=NAME, HTTP_PORT="18080", BACKUP="yes")
    try:
        assert up.returncode == 0, up.stdout
        yield
    finally:
        gone = run("ops", "distclean", NAME=NAME, YES="1")
        assert gone.returncode == 0, gone.stdout
        assert f"{NAME}-scratch" not in docker("ps", "--all", "--format", "{{.Names}}").split()
        assert f"{NAME}_scratch" not in docker("volume", "ls", "--quiet").split()


def test_the_first_full_backup_takes_itself() -> None:
    """Within three minutes, and pgBackRest finds the archive in order."""

    def kinds() -> list[str]:
        return [each["kind"] for each in listed()["backups"]]  # type: ignore[attr-defined]

    wait_until("a full backup", FIRST_LIMIT, lambda: "full" in kinds())
    assert run("ops.cli", "backup", "check", NAME=NAME).returncode == 0
    holdfast("backup", "run")
    assert kinds() == ["full", "diff"]


def test_what_was_dropped_is_in_a_copy_of_the_moment_before() -> None:
    """All that was acknowledged until then, and nothing after; the stack itself is not touched."""
    before = {create_user() for _ in range(USERS)}
    moment = datetime.now(UTC)
    after = create_user()
    ask(primary(), "UPDATE users SET name = 'nobody'; ALTER TABLE users RENAME TO lost")
    said = holdfast("restore", "--to", moment.isoformat(), "--scratch")
    assert f"docker exec -it {NAME}-scratch psql holdfast" in said
    found = set(ask(f"{NAME}-scratch", "SELECT email FROM users").splitlines())
    assert before <= found
    assert after not in found
    assert ask(f"{NAME}-scratch", "SELECT count(*) FROM users WHERE name = 'nobody'") == "0"
    assert docker("inspect", "-f", "{{.HostConfig.NetworkMode}}", f"{NAME}-scratch") == "none\n"
    ask(primary(), "ALTER TABLE lost RENAME TO users")
    latest = holdfast("restore", "--to", "latest", "--scratch")
    assert f"{NAME}-scratch" in latest
    assert ask(f"{NAME}-scratch", "SELECT count(*) FROM users WHERE name <> 'nobody'") == "0"
    assert after in ask(f"{NAME}-scratch", "SELECT email FROM users").splitlines()


def test_a_copy_is_found_sound() -> None:
    """All that is archived until now, every page and every index."""
    create_user()
    assert "sound" in holdfast("backup", "verify")
    assert f"{NAME}-verify" not in docker("ps", "--all", "--format", "{{.Names}}").split()


def test_the_new_primary_archives() -> None:
    """After the old one was killed in the middle of a backup, and after it has come back."""
    old = primary()
    wait_until("a whole stack", REDUNDANT_LIMIT, is_well)
    create_user()
    docker("exec", "--detach", f"{NAME}-backup", "take-backup", "full")
    docker("kill", old)
    wait_until("another primary", RESUME_LIMIT, lambda: primary() not in {"", old})
    last = create_user()
    began = time.time()
    until = lambda: listed()["archived_until"] or 0.0  # noqa: E731
    wait_until("an archived segment", ARCHIVED_LIMIT, lambda: float(str(until())) > began)
    docker("start", old)
    wait_until("a whole stack", REDUNDANT_LIMIT, is_well)
    assert run("ops.cli", "backup", "check", NAME=NAME).returncode == 0
    wait_until("a full backup", FIRST_LIMIT, lambda: runs("--full"))
    holdfast("restore", "--to", "latest", "--scratch")
    assert last in ask(f"{NAME}-scratch", "SELECT email FROM users").splitlines()


@pytest.mark.runbook("Backups are behind")
def test_writes_do_not_wait_for_the_repository() -> None:
    """While it is away. What the primary could not archive before it died, its heir archives."""
    docker("stop", f"{NAME}-backup")
    lost = primary()
    kept = {create_user()}
    ask(lost, "SELECT pg_switch_wal()")
    failed = lambda: int(ask(lost, "SELECT failed_count FROM pg_stat_archiver"))  # noqa: E731
    wait_until("a failure to archive", ARCHIVED_LIMIT, lambda: failed() > 0)
    kept.add(create_user())
    said = json.loads(run("ops.cli", "status", "--json", NAME=NAME).stdout)
    assert "Backups are behind" in {each["heading"] for each in said["problems"]}
    docker("kill", lost)
    wait_until("another primary", RESUME_LIMIT, lambda: primary() not in {"", lost})
    kept.add(create_user())
    docker("start", f"{NAME}-backup")
    there = ("ops.cli", "backup", "list")
    wait_until("a repository", REDUNDANT_LIMIT, lambda: run(*there, NAME=NAME).returncode == 0)
    holdfast("restore", "--to", "latest", "--scratch")
    found = set(ask(f"{NAME}-scratch", "SELECT email FROM users").splitlines())
    docker("start", lost)
    wait_until("a whole stack", REDUNDANT_LIMIT, is_well)
    assert kept <= found


def test_damage_is_found() -> None:
    """A byte of the newest full backup: the copy cannot be made, and that is said."""
    newest = max(
        each["label"]
        for each in listed()["backups"]  # type: ignore[attr-defined]
        if each["kind"] == "full"
    )
    bundle = f"find /var/lib/pgbackrest/backup/holdfast/{newest}/bundle -type f | head -1"
    damage = f"printf damage | dd of=$({bundle}) bs=1 seek=2000 conv=notrunc"
    docker("exec", f"{NAME}-backup", "sh", "-c", damage)
    done = run("ops.cli", "backup", "verify", NAME=NAME)
    assert done.returncode == 1, done.stdout
    assert "The restore failed" in done.stdout
