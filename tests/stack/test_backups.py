"""The repository of backups: what is archived, what comes back, what a failover changes.

The tests of this file build on one another, in their order.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import pytest

from ops.backups import histories, points, replacement, repository, restoring, scratch
from ops.drills.backup_controls import at_a_wrong_time, of_a_damaged_backup, without_archiving
from ops.drills.recoveries import run as recover
from ops.load.plan import Plan
from tests.stack.support import (
    BASE_URL,
    CLIENT_TIMEOUT,
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    ROOT,
    SECRETS,
    create_user,
    docker,
    log_of,
    make,
    other,
    primary,
    run,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ops.drills.controls import Control

pytestmark = pytest.mark.usefixtures("stack")

FIRST_LIMIT = 180.0
"""Seconds for the first full backup: what is promised."""

ARCHIVED_LIMIT = 90.0
"""Seconds for a segment to be archived: a minute until it is ended in any case, and some."""

RESTORE_LIMIT = 300.0
"""Seconds for a restore of a small database; measured is under 30."""

USERS = 50


def plan() -> Plan:
    """Return a load whose users nobody else has."""
    return Plan(writes_per_second=20.0, reads_per_second=40.0)


def holdfast(*words: str, limit: float = RESTORE_LIMIT) -> str:
    """Run a command, which must end well."""
    done = run("ops.cli", *words, limit=limit)
    assert done.returncode == 0, done.stdout
    return done.stdout


def kinds() -> list[str]:
    """Return the kinds of backups, the oldest first."""
    return [each["kind"] for each in json.loads(holdfast("backup", "list", "--json"))["backups"]]


def made(prefix: str = "backup") -> str:
    """Return the e-mail address of a user that was acknowledged."""
    answer = create_user(prefix)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["email"])


def ask(container: str, sql: str) -> str:
    """Return what a statement says as the superuser of a container's PostgreSQL."""
    psql = ("psql", "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-d", "holdfast", "-c")
    return docker("exec", container, *psql, sql).strip()


def users(container: str) -> set[str]:
    """Return the addresses that a container's PostgreSQL has."""
    return set(ask(container, "SELECT email FROM users").splitlines())


def is_well() -> bool:
    """Tell what `holdfast status` says."""
    return run("ops.cli", "status").returncode == 0


@pytest.fixture(scope="module", autouse=True)
def first_backup(running_stack: None) -> Iterator[None]:  # noqa: ARG001 - ordering only
    """The one that takes itself; all others come after it. No copy is left."""
    wait_until("a full backup", FIRST_LIMIT, lambda: "full" in kinds())
    yield
    scratch.remove()


def test_a_full_backup_has_taken_itself() -> None:
    """Within three minutes; then what changed since can be taken at any time."""
    assert "full" in kinds()
    holdfast("backup", "check")
    holdfast("backup", "run")
    assert kinds()[-1] == "diff"


LOSE = "UPDATE users SET name = '{}'; ALTER TABLE users RENAME TO lost"
NAMED = "SELECT count(*) FROM users WHERE name {} '{}'"


def test_what_was_dropped_is_in_a_copy_of_the_moment_before() -> None:
    """All that was acknowledged until then, and nothing after; the stack itself is not touched."""
    before = {made() for _ in range(USERS)}
    moment = datetime.now(UTC)
    holdfast("backup", "mark", f"at-{moment:%H%M%S}")
    after = made()
    nobody = f"nobody-{moment:%H%M%S}"
    ask(primary(), LOSE.format(nobody))
    try:
        said = holdfast("restore", "--to", moment.isoformat(), "--scratch")
        assert "docker exec -it scratch psql holdfast" in said
        assert before <= users("scratch")
        assert after not in users("scratch")
        assert ask("scratch", NAMED.format("=", nobody)) == "0"
        assert docker("inspect", "-f", "{{.HostConfig.NetworkMode}}", "scratch") == "none\n"
    finally:
        ask(primary(), "ALTER TABLE lost RENAME TO users")
    holdfast("restore", "--to", f"at-{moment:%H%M%S}", "--scratch")
    assert before <= users("scratch")
    assert after not in users("scratch")
    holdfast("restore", "--to", "latest", "--scratch")
    assert after in users("scratch")
    assert ask("scratch", NAMED.format("<>", nobody)) == "0"


def test_a_copy_is_found_sound() -> None:
    """All that is archived until now, every page and every index."""
    made()
    assert "sound" in holdfast("backup", "verify")
    assert "verify" not in docker("ps", "--all", "--format", "{{.Names}}").split()


def test_an_interrupted_restore_goes_on() -> None:
    """Killed in the middle, and said again: as it was then, and the service never restarted.

    What there was before is kept, and tokens of what is given up are another history's.
    """
    before = {made() for _ in range(USERS)}
    moment = datetime.now(UTC)
    after = create_user("after")
    token = after.headers["Consistency-Token"]
    ask(primary(), "DROP TABLE users CASCADE")
    apps = docker("inspect", "--format", "{{.State.StartedAt}}", "app1", "app2")
    command = ("restore", "--to", moment.isoformat(), "--replace", "--yes")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "ops.cli", *command],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as first:  # fmt: skip
        assert first.stdout is not None
        assert any("restore command begin" in line for line in first.stdout)
        first.send_signal(signal.SIGKILL)
    holdfast(*command)
    assert is_well()
    assert before <= users(primary())
    assert after.json()["email"] not in users(primary())
    assert docker("inspect", "--format", "{{.State.StartedAt}}", "app1", "app2") == apps
    headers = {"Consistency-Token": token}
    answer = httpx.get(f"{BASE_URL}/api/users", headers=headers, timeout=CLIENT_TIMEOUT)
    assert answer.status_code == 409
    assert "another-history" in answer.text
    kept = docker("exec", primary(), "sh", "-c", "ls -d /var/lib/postgresql/replaced-*/global")
    assert kept.strip()
    assert kinds()[-1] == "full"
    holdfast("backup", "check")


@pytest.mark.parametrize("how", ["make up", pytest.param("again", marks=pytest.mark.long)])
def test_a_restore_that_is_decided_goes_on(how: str) -> None:
    """Killed when the others had been told to copy what is restored: there is no way back."""
    there = {made()}
    moment = datetime.now(UTC).isoformat()
    given_up = made()
    target = points.find(moment, histories.usable())
    holdfast("backup", "check")
    node = primary()
    standby = other(node)
    docker("stop", standby)
    docker("stop", node)
    replacement.restore(node, SECRETS, target, print)
    restoring.on_volume(node, replacement.DECIDE)
    restoring.on_volume(standby, replacement.COPY)
    if how == "make up":
        make("up")
    else:
        said = holdfast("restore", "--to", moment, "--replace", "--yes")
        assert "restore command begin" not in said  # what was restored is taken
    wait_until("a whole stack", REDUNDANT_LIMIT, is_well)
    assert there <= users(primary())
    assert given_up not in users(primary())


@pytest.mark.parametrize(
    "name",
    [
        "restore-to-time",
        "backup-during-failover",
        "repository-lost",
        pytest.param("machine-lost", marks=pytest.mark.long),
    ],
)
def test_a_way_back(name: str, tmp_path: Path) -> None:
    """All that was acknowledged is there; `./holdfast drill recoveries` has the other ways."""
    found = recover(name, plan(), tmp_path)
    assert found.problems == []
    assert found.found.judged.findings == []
    assert found.ok
    assert found.found.judged.acknowledged > 0


@pytest.mark.parametrize(
    "control",
    [
        pytest.param(without_archiving, marks=pytest.mark.long),
        pytest.param(at_a_wrong_time, marks=pytest.mark.long),
        of_a_damaged_backup,
    ],
    ids=lambda each: each.__name__,
)
def test_a_control(control: Callable[[Plan], Control]) -> None:
    """Without what a restore rests on, it is found wanting."""
    found = control(plan())
    assert found.ok, found


@pytest.mark.runbook("Backups are behind")
def test_writes_do_not_wait_for_the_repository() -> None:
    """While it is away. What the primary could not archive before it died, its heir archives."""
    docker("stop", "backup")
    lost = primary()
    kept = {made()}
    ask(lost, "SELECT pg_switch_wal()")
    failed = lambda: int(ask(lost, "SELECT failed_count FROM pg_stat_archiver"))  # noqa: E731
    before = failed()
    wait_until("a failure to archive", ARCHIVED_LIMIT, lambda: failed() > before)
    kept.add(made())
    said = json.loads(run("ops.cli", "status", "--json").stdout)
    assert "Backups are behind" in {each["heading"] for each in said["problems"]}
    docker("kill", lost)
    wait_until("another primary", RESUME_LIMIT, lambda: primary() != lost)
    kept.add(made())
    docker("start", "backup")
    wait_until("a repository", REDUNDANT_LIMIT, lambda: repository.reach(None).first is not None)
    holdfast("restore", "--to", "latest", "--scratch")
    found = users("scratch")
    docker("start", lost)
    wait_until("a whole stack", REDUNDANT_LIMIT, is_well)
    assert kept <= found


def test_what_is_missing_is_said_and_mended() -> None:
    """A segment that is in no repository: a full backup begins by itself."""
    made()
    holdfast("backup", "check")
    newest = "ls /var/lib/pgbackrest/archive/holdfast/*/*/*-* | sort | tail -n 1"
    docker("exec", "backup", "sh", "-c", f"rm $({newest})")
    since = time.time()
    made()
    ask(primary(), "SELECT pg_switch_wal()")
    done = run("ops.cli", "backup", "check")
    assert done.returncode == 1
    assert "is not in the repository" in done.stdout
    full = lambda: any(  # noqa: E731
        each.kind == "full" and each.began > since for each in repository.backups()
    )
    wait_until("a full backup", FIRST_LIMIT, full)
    assert "is missing: a full backup is due" in log_of("backup")
    wait_until("a whole stack", REDUNDANT_LIMIT, is_well)
    holdfast("backup", "check")
