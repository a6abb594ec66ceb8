"""The embedded pair is of the major release that was asked for, and a session of tests says so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ops.embedded import EmbeddedError, EmbeddedStack, scratch_directory
from ops.embedded.majors import DEFAULT, MAJORS, chosen
from tests.integration.support import ROOT

THIS = "tests/integration/test_majors.py"


def session(**environment: str) -> subprocess.CompletedProcess[str]:
    """Begin a session of tests that runs none."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", THIS],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_pair_is_of_the_major_asked_for(stack: EmbeddedStack) -> None:
    """Both nodes, by what they say themselves."""
    asked = os.environ.get("PG_MAJOR") or str(DEFAULT)
    for node in stack.nodes:
        assert node.sql("SHOW server_version_num")[:-4] == asked


def test_no_test_is_left_out_without_need(stack: EmbeddedStack) -> None:
    """Those that want TLS are, as long as the package's server was built without, and no longer."""
    assert chosen().tls == (stack.primary.sql("SHOW ssl_library") != "")


@pytest.mark.parametrize(
    ("setting", "value"),
    # What 18 has otherwise as a default, and the stack's own settings say.
    [("data_checksums", "on"), ("wal_level", "replica"), ("hot_standby", "on")],
)
def test_both_majors_are_set_up_alike(stack: EmbeddedStack, setting: str, value: str) -> None:
    """A default that differs between them is written down (ops/embedded/postgres.py)."""
    assert {node.sql(f"SHOW {setting}") for node in stack.nodes} == {value}


@pytest.mark.parametrize("number", MAJORS)
def test_a_session_says_what_it_runs_on(number: int) -> None:
    """In pytest's header: the version of the server's programs."""
    done = session(PG_MAJOR=str(number))
    assert f"embedded pair: PostgreSQL {number}." in done.stdout
    assert done.returncode == 0


def test_a_session_without_its_server_does_not_begin() -> None:
    """No test is run on another one instead, and none is skipped."""
    done = session(PG_MAJOR="16")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "PG_MAJOR is '16'; it is one of 17, 18." in done.stderr


def test_data_of_another_major_are_left_alone() -> None:
    """The stack does not start on them, and they are as they were."""
    with scratch_directory() as directory:
        stack = EmbeddedStack(directory)
        other = next(number for number in MAJORS if number != chosen().number)
        stack.primary.data.mkdir()
        version = stack.primary.data / "PG_VERSION"
        version.write_text(f"{other}\n")
        with pytest.raises(EmbeddedError, match=f"is of PostgreSQL {other}"):
            stack.start()
        assert version.read_text() == f"{other}\n"
