"""deploy/logs/repeats: what is said again and again is counted, what is said once is there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "logs" / "repeats"
MOST = 20  # lines of a kind in a minute
LIMIT = 20.0  # seconds, for thousands of lines

pytestmark = pytest.mark.skipif(shutil.which("mawk") is None, reason="no mawk on this machine")

NGINX = (
    "2026/11/27 02:44:35 [error] 31#31: *{n} connect() failed (111: Connection refused) while"
    ' connecting to upstream, client: 192.0.2.{n}, server: , request: "GET /api/users/{n} HTTP/1.1"'
)
POSTGRES = (
    "2026-11-27 02:44:35.406 UTC [{n}] guest{n}@holdfast 172.30.1.31({n})"
    ' FATAL:  password authentication failed for user "guest{n}"'
)


def passed(lines: list[str]) -> list[str]:
    """Return what the filter leaves of lines."""
    done = subprocess.run(
        ["mawk", "-W", "interactive", "-f", str(SCRIPT)],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("form", [NGINX, POSTGRES], ids=["nginx", "PostgreSQL"])
def test_a_thousand_repeats_are_a_few_lines(form: str) -> None:
    """Whatever a stranger calls himself: the first ones, and how many there are."""
    lines = [form.format(n=n) for n in range(1000)]
    left = passed(lines)
    assert left[:MOST] == lines[:MOST]
    assert len(left) == MOST + 2
    assert left[-1].startswith("repeats: 980 more in a minute: ")


def test_what_is_said_once_is_there() -> None:
    """In the middle of repeats, and as it was."""
    once = '2026/11/27 02:44:36 [alert] 31#31: worker process 32 exited on signal 9, said "so"'
    flood = [NGINX.format(n=n) for n in range(500)]
    assert once in passed([*flood, once, *flood])


def test_few_lines_pass_as_they_are() -> None:
    """And nothing is added to them."""
    lines = [NGINX.format(n=n) for n in range(MOST)]
    assert passed(lines) == lines
