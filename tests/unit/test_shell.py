"""The containers' shell loops: what they notice, how long they wait, what they start for it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.unit.shells import BEGIN, CONNINFO, DEPLOY, LIMIT, STANDBY, Node


# ---------------------------------------------------------------- processes
def started(node: Node, statement: str) -> bool:
    """Return whether a statement starts a process. What is opened once is open by then."""
    return node.run(f"""
        pause 0.1; wait
        children; before=$known
        {statement}
        children; [ "$known" = "$before" ] || echo some
    """) == "some"  # fmt: skip


@pytest.mark.parametrize("statement", ["sleep 0", "( : )", "x=$(:)", "sleep 0.5 &"])
def test_a_process_is_counted(node: Node, statement: str) -> None:
    """A program, a subshell, one that has not ended: the measure sees each."""
    assert started(node, statement)


LOOKS = "looks=0; pause() { looks=$((looks + 1)); [ $looks -le 3 ]; }; "
"""Three looks of a loop, without the time between them."""


@pytest.mark.parametrize(
    "statement",
    [
        "pause 0.1",
        "find_postmaster; copies_now || true",
        "replicates_from",
        "resume_writes",
        LOOKS + "watch_certificate",
        LOOKS + "watch_the_way",
    ],
)
def test_a_look_at_rest_starts_no_process(node: Node, statement: str) -> None:
    """They look up to twice a second, on every node."""
    (node.home / "data" / STANDBY).write_text(CONNINFO + "\n")
    (node.home / "data" / "postgresql.auto.conf").write_text("primary_slot_name = 'x'\n")
    node.run("install_certificate")
    assert not started(node, statement)


# ---------------------------------------------------------------- waiting
def test_a_pause_takes_its_time(node: Node) -> None:
    """Not less, and not much more."""
    assert 300 <= int(node.run("pause 0.3; passed")) < 5000


def test_the_end_of_a_child_does_not_end_a_pause(node: Node) -> None:
    """A signal comes with it."""
    assert int(node.run("sleep 0.1 & pause 0.5; passed")) >= 500


@pytest.mark.parametrize("fault", ["exec {never}>&-", "never=99", "echo >&$never"])
def test_a_pause_that_cannot_read_does_not_spin(node: Node, fault: str) -> None:
    """No pipe, or something in it: it waits all the same."""
    assert int(node.run(f"pause 0.1; {fault}; pause 0.4; passed")) >= 500


@pytest.mark.parametrize(("trap", "code"), [("trap 'exit 7' TERM", 7), (":", -signal.SIGTERM)])
def test_a_stop_does_not_wait_for_a_pause(node: Node, trap: str, code: int) -> None:
    """With a trap and without one."""
    script = f"{trap}; pause 0.01; echo ready; pause 600"
    environment = {"PATH": os.environ["PATH"], "HOME": str(node.home)}
    with subprocess.Popen(
        ["bash", "-c", BEGIN + script], env=environment, stdout=subprocess.PIPE, text=True
    ) as shell:
        try:
            assert shell.stdout is not None
            assert shell.stdout.readline() == "ready\n"
            shell.send_signal(signal.SIGTERM)
            assert shell.wait(LIMIT) == code
        finally:
            shell.kill()


# ---------------------------------------------------------------- files
def test_a_certificate_is_taken_over_once(node: Node) -> None:
    """The first one, a renewed one, another CA's; nothing when nothing is new."""
    assert node.tells("install_certificate")
    assert not node.tells("install_certificate")
    assert node.tells("certificate_is_in_use")
    node.mount("tls.pem", "second\n")
    assert not node.tells("certificate_is_in_use")
    assert node.tells("install_certificate")
    assert not node.tells("install_certificate")
    node.mount("ca.crt", "second CA\n")
    assert node.tells("install_certificate")
    for name in ("tls.pem", "tls.crt", "tls.key"):
        assert (node.home / "tls" / name).read_text() == "second\n"
    assert (node.home / "tls" / "ca.crt").read_text() == "second CA\n"


def test_blanks_and_ends_of_lines_are_compared(node: Node) -> None:
    """What a shell likes to drop."""
    one, other = node.home / "one", node.home / "other"
    one.write_bytes(b" a\\n\n\n")
    for text, expected in ((b" a\\n\n\n", "yes"), (b" a\\n\n", "no"), (b"a\\n\n\n", "no")):
        other.write_bytes(text)
        assert node.tells(f"same {one} {other}") == (expected == "yes")


def test_a_file_that_is_not_there_is_not_the_same(node: Node) -> None:
    """Nor are two such files."""
    assert not node.tells("same $HOME/none $mounted/tls.pem")
    assert not node.tells("same $mounted/tls.pem $HOME/none")
    assert not node.tells("same $HOME/none $HOME/none")


# ---------------------------------------------------------------- psql-client
def _pauses(shell: int) -> bool:
    """Tell whether it has opened the pipe that it pauses at (loops.sh)."""
    found = set()
    with suppress(OSError):  # it has just ended
        for each in Path(f"/proc/{shell}/fd").iterdir():
            found.add(int(each.name) > 2 and str(each.readlink()).startswith("pipe:"))
    return True in found


def test_the_client_follows_a_rotated_password(tmp_path: Path) -> None:
    """Within a second or so; only its own user can read what is written. An empty file is none."""
    text = (DEPLOY / "client" / "entrypoint").read_text()
    text = text.replace("/tmp/", f"{tmp_path}/")  # noqa: S108
    text = text.replace("/run/secrets/", f"{tmp_path}/")
    text = text.replace("/usr/local/bin/loops.sh", str(DEPLOY / "shell" / "loops.sh"))
    secret, written = tmp_path / "db_password", tmp_path / ".pgpass"
    secret.write_text("")
    shell = subprocess.Popen(["bash", "-c", text], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + LIMIT
        while not _pauses(shell.pid):
            assert time.monotonic() < deadline
            assert shell.poll() is None, "it ended"
            time.sleep(0.01)
        assert not written.exists()
        for password in ("first", "second"):
            secret.write_text(password)
            line = f"*:*:*:holdfast_app:{password}\n"
            deadline = time.monotonic() + LIMIT
            while not written.exists() or written.read_text() != line:
                assert time.monotonic() < deadline, f"the password {password} is not written"
                time.sleep(0.01)
        assert written.stat().st_mode & 0o777 == 0o600
    finally:
        shell.kill()
        shell.wait()
