"""Passwords and certificates of a running stack, renewed under writes: nothing fails."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import httpx
import pytest

from ops import operate
from ops.secret_files import PASSWORDS, STATS, STATS_USER
from tests.stack.support import (
    REDUNDANT_LIMIT,
    RESUME_LIMIT,
    ROOT,
    SECRETS,
    Writer,
    docker,
    is_whole,
    primary,
    psql,
    sql,
    wait_until,
)

ROTATION_LIMIT = 300.0
"""Seconds for all passwords, one after another."""

CA = SECRETS / "tls" / "edge" / "ca.crt"
EDGE, NODES = "vip-access:8443", ("pg-monitor:5432", "postgres1:5432", "postgres2:5432")
PGPASS = "/tmp/.pgpass"  # noqa: S108 - the container's own
MINUTES = 5
LOOK_PAUSE = 0.005
"""Seconds between two looks at all processes; a psql that sets passwords lives for 20 ms."""


def holdfast(*arguments: str, **variables: str) -> str:
    """Run the command, which must succeed."""
    done = subprocess.run(
        [str(ROOT / "holdfast"), *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=ROTATION_LIMIT,
        env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Onlooker:
    """Reads the arguments and environments of all processes of this machine, again and again.

    Those of the containers are among them, where the Docker engine is this machine's own.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(RESUME_LIMIT)

    def saw(self, text: str) -> bool:
        """Tell whether a process had the text among what it was started with."""
        assert any(b"psql" in each for each in self._seen), "none of what sets passwords was seen"
        return any(text.strip().encode() in each for each in self._seen)

    def _look(self) -> None:
        while not self._enough.wait(LOOK_PAUSE):
            for process in Path("/proc").glob("[0-9]*"):
                for what in ("cmdline", "environ"):
                    with suppress(OSError):  # it has ended
                        self._seen.add((process / what).read_bytes())


def ends(server: str) -> datetime:
    """Return when the certificate ends that a server shows."""
    start = ("-starttls", "postgres") if server in NODES else ()
    ask = "openssl s_client -connect {} {} </dev/null 2>/dev/null | openssl x509 -noout -enddate"
    command = ask.format(server, " ".join(start))
    neighbour = "pg-monitor" if server in NODES else "vip-access"
    told = docker("exec", neighbour, "sh", "-c", command).strip().partition("=")[2]
    return datetime.strptime(told, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)


def test_all_passwords_are_rotated() -> None:
    """Each is another one then, where it is set and where it is used, and no write failed."""
    before = {name: (SECRETS / name).read_text() for name in (*PASSWORDS, STATS)}
    old = docker("exec", "psql-client", "cat", PGPASS)
    with Writer() as writer, Onlooker() as onlooker:
        said = holdfast("secrets", "rotate")
        writer.await_writes()
    assert all(name in said for name in (*PASSWORDS, STATS))
    statistics = "http://127.0.0.1:8404/"
    assert (
        httpx.get(statistics, auth=(STATS_USER, (SECRETS / STATS).read_text())).status_code == 200
    )
    assert httpx.get(statistics, auth=(STATS_USER, before[STATS])).status_code == 401
    assert writer.failed == []
    assert writer.lost() == set()
    after = {name: (SECRETS / name).read_text() for name in before}
    assert all(after[name] != text for name, text in before.items())
    assert not {name for name, text in {*before.items(), *after.items()} if onlooker.saw(text)}
    wait_until(
        "psql-client to have the new one",
        RESUME_LIMIT,
        lambda: docker("exec", "psql-client", "cat", PGPASS) != old,
    )
    assert sql("SELECT 1") == ["1"]


@pytest.mark.parametrize("terminate", [True, False])
def test_sessions_of_the_old_password_end(*, terminate: bool) -> None:
    """An open one, of somebody else with the password, ends with it, unless it is to be kept."""
    command = ["docker", "exec", "-i", "psql-client", "psql", "-qAt"]
    with (
        Writer() as writer,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as old,
    ):
        assert old.stdin is not None
        assert old.stdout is not None
        old.stdin.write("SELECT pg_backend_pid();\n")
        old.stdin.flush()
        pid = int(old.stdout.readline())
        flag = "--terminate" if terminate else "--no-terminate"
        said = holdfast("secrets", "rotate", "db_password", flag)
        there = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"  # noqa: S608
        left = psql(primary(), there).strip()
        writer.await_writes()
        old.stdin.close()
        old.wait(RESUME_LIMIT)
    assert left == ("0" if terminate else "1")
    assert ("sessions ended" in said) is terminate
    assert writer.failed == []
    assert writer.lost() == set()


def test_a_standby_comes_back_with_rotated_passwords() -> None:
    """It replicates by a connection that was made before; the next one takes the new password."""
    holdfast("secrets", "rotate", "replication_password", "autoctl_node_password")
    docker("restart", next(name for name in ("postgres1", "postgres2") if name != primary()))
    wait_until("a whole stack", REDUNDANT_LIMIT, is_whole)


@pytest.mark.runbook("A certificate has ended, or is about to")
def test_certificates_are_renewed() -> None:
    """By ones that last minutes, and back; all servers show them, and no write failed."""
    try:
        with Writer() as writer:
            holdfast("certificates", "renew", CERTIFICATE_SECONDS=str(60 * MINUTES))
            soon = datetime.now(UTC) + timedelta(minutes=MINUTES + 1)
            for server in (EDGE, *NODES):
                wait_until(f"{server}'s new one", RESUME_LIMIT, lambda: ends(server) < soon)  # noqa: B023
            writer.await_writes()
            operate.switchover()
            writer.await_writes()
    finally:
        holdfast("certificates", "renew")
    assert writer.failed == []
    assert writer.lost() == set()
    for server in (EDGE, *NODES):
        wait_until(f"{server}'s long one", RESUME_LIMIT, lambda: ends(server) > soon)  # noqa: B023


def test_https_at_the_edge() -> None:
    """HTTP/1.1 here; name and chain are verified with the stack's CA, and with no other."""
    url = "https://localhost:8443/livez"
    trusting = ssl.create_default_context(cafile=str(CA))
    answer = httpx.get(url, verify=trusting)
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "strict-transport-security" not in answer.headers
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(url)
