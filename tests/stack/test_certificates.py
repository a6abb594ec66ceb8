"""Certificates that last 45 seconds, on the real stack: renewed by itself; what it says if not."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.stack.support import (
    RESUME_LIMIT,
    ROOT,
    SECRETS,
    Writer,
    docker,
    make,
    primary,
    psql,
    wait_until,
)
from tests.stack.test_renewal import EDGE, NODES, ends, holdfast

if TYPE_CHECKING:
    from collections.abc import Iterator

LIFE = 45
"""Seconds that a certificate lasts here; those of the CAs last three times as long."""

RENEWED_LIMIT = 3.0 * LIFE
"""Seconds within which all have been renewed, those of the CAs included: the end of their life."""

AFTERWARDS = 5.0
"""Seconds that are watched after that: members look for what is new every two."""

HEADING = "A certificate has ended, or is about to"
EXPIRED = re.compile(
    r'^holdfast_database_failures_total{[^}]*kind="certificate-expired"[^}]*} (\S+)$', re.MULTILINE
)


def status() -> dict[str, Any]:
    """Return what `holdfast status --json` says, whether all is well or not."""
    done = subprocess.run(
        [str(ROOT / "holdfast"), "status", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode in {0, 3}, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def problems() -> list[str]:
    """Return what `status` says of certificates."""
    return [one["what"] for one in status()["problems"] if one["heading"] == HEADING]


@pytest.fixture(scope="module")
def short(running_stack: None) -> Iterator[None]:  # noqa: ARG001 - ordering only
    """Certificates for a minute, and as long as always afterwards."""
    make("up", CERTIFICATE_SECONDS=str(LIFE), CA_SECONDS=str(3 * LIFE))
    yield
    make("up", CERTIFICATE_SECONDS="", CA_SECONDS="")
    holdfast("certificates", "renew")  # now; else once a third of the short ones' life is left
    for server in (EDGE, *NODES):
        wait_until(
            f"{server}'s long one",
            RESUME_LIMIT,
            lambda: ends(server).timestamp() > time.time() + 3600,  # noqa: B023
        )


def test_renewed_before_they_end(short: None) -> None:  # noqa: ARG001 - a state
    """Every server shows another in time, none that has ended; no write failed.

    The CAs' certificates are renewed as well: whoever verifies follows.
    """
    seen: dict[str, set[float]] = {server: set() for server in (EDGE, *NODES)}
    cas = [SECRETS / "tls" / name / "ca.crt" for name in ("nodes", "edge")]
    first = [ca.read_bytes() for ca in cas]

    def look() -> bool:
        """Look at each once; tell whether all have been renewed."""
        for server, shown in seen.items():
            end = ends(server).timestamp()
            assert end > time.time() - 1, f"{server} shows one that has ended"
            shown.add(end)
        trusting = ssl.create_default_context(cafile=str(cas[1]))
        answer = httpx.get("https://localhost:8443/livez", verify=trusting)
        assert answer.status_code == 200
        others = [ca.read_bytes() != old for ca, old in zip(cas, first, strict=True)]
        return all(others) and all(len(shown) > 1 for shown in seen.values())

    with Writer() as writer:
        wait_until("all to be renewed", RENEWED_LIMIT, look)
        end = time.monotonic() + AFTERWARDS
        while time.monotonic() < end:
            look()
        assert problems() == []
        left = [one["ends"] - time.time() for one in status()["certificates"]]
        assert 0 < left[0] <= LIFE
        writer.await_writes()
    assert writer.failed == []
    assert writer.lost() == set()
    assert _expired() == 0


def test_nobody_renews(short: None) -> None:  # noqa: ARG001 - a state
    """`status` says so before they end; then the service calls it what it is, until they do."""
    docker("stop", "certificates")
    wait_until("a warning", LIFE, problems)
    wait_until("the end", LIFE, lambda: any("has ended" in what for what in problems()))
    wait_until("all to have ended", LIFE, lambda: _ended() >= {"postgres1", "postgres2"})
    # Sessions end by themselves within a minute; these do now.
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'holdfast_app'"
    psql(primary(), query)
    wait_until("the failure's kind", RESUME_LIMIT, lambda: _expired() > 0)
    docker("start", "certificates")
    with Writer() as writer:
        writer.await_writes()
    wait_until("no warning", RESUME_LIMIT, lambda: not problems())


def _ended() -> set[str]:
    return {one["name"] for one in status()["certificates"] if one["ends"] < time.time()}


def _expired() -> float:
    """Return how many failures of app1 were ended certificates; it counts each kind from 0."""
    said = docker("exec", "app1", "curl", "-s", "-m", "2", "http://127.0.0.1:8000/metrics")
    counts = EXPIRED.findall(said)
    assert counts, said
    return sum(map(float, counts))
