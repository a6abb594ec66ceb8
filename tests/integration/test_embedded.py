"""The embedded stack keeps its promises: what other tests, and `make dev`, rely on."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.embedded import EmbeddedError, EmbeddedStack, Ports, scratch_directory
from ops.embedded.majors import chosen
from ops.embedded.processes import Stat
from tests.integration.support import ROOT, eventually, superuser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.embedded import Node

MARK = "made-by-this-copy"  # a file that only a fresh base backup would remove
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="what only root has to do")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Make a directory for a stack of this test's own."""
    with scratch_directory() as made:
        yield made


def mark(node: Node) -> Path:
    """Put a file into a data directory that tells it from a fresh copy."""
    file = node.data / MARK
    file.touch()
    return file


def count(node: Node) -> int:
    """How many rows the table of these tests has on a node."""
    return int(node.sql("SELECT count(*) FROM kept"))


def test_pair_is_synchronous(stack: EmbeddedStack) -> None:
    """A standby streams, and the primary waits for it."""
    state = stack.primary.sql("SELECT application_name, sync_state FROM pg_stat_replication")
    assert state == f"{stack.standby.name}|quorum"
    assert stack.standby.in_recovery
    assert not stack.primary.in_recovery


async def test_commit_waits_for_a_lost_standby(
    disturbed_stack: EmbeddedStack, empty_database: str
) -> None:
    """Without its standby a commit hangs, and goes on once it is said that there is none."""
    stack = disturbed_stack
    stack.standby.kill()
    async with superuser(stack, empty_database) as admin:
        commit = asyncio.create_task(admin.execute("CREATE TABLE t (n int)"))
        async with superuser(stack, empty_database) as onlooker:
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

            async def waits() -> bool:
                return bool(await onlooker.fetchval(query) == 1)

            await eventually("the commit to wait for the standby", waits)
            assert not commit.done()
            await asyncio.to_thread(stack.set_synchronous, on=False)
            await asyncio.wait_for(commit, 5)


def test_acknowledged_writes_survive_failover(disturbed_stack: EmbeddedStack) -> None:
    """What was committed when the primary was killed is on the new one, and on the rejoined."""
    stack = disturbed_stack
    stack.primary.sql("CREATE TABLE kept (n int); INSERT INTO kept SELECT generate_series(1, 99)")
    old = stack.primary
    assert stack.failover() is not old
    assert count(stack.primary) == 99
    stack.primary.sql("INSERT INTO kept VALUES (100)")
    assert stack.rejoin() is old
    stack.wait_replayed()
    assert count(old) == 100
    stack.primary.sql("DROP TABLE kept")


def test_rejoin_rewinds_what_diverged(disturbed_stack: EmbeddedStack) -> None:
    """A write that only the lost primary had is gone after pg_rewind, without a fresh copy."""
    stack = disturbed_stack
    stack.primary.sql("CREATE TABLE kept (n int)")
    old = stack.primary
    stack.promote_standby()  # `old` still takes writes
    old.sql("SET synchronous_commit = local; INSERT INTO kept VALUES (666)")
    file = mark(old)
    stack.primary.sql("INSERT INTO kept VALUES (1), (2)")
    stack.rejoin()
    stack.wait_replayed()
    assert old.sql("SELECT string_agg(n::text, ',') FROM kept") == "1,2"
    assert file.exists() or (old.data / "backup_label.old").exists()  # pg_rewind leaves the latter
    stack.primary.sql("DROP TABLE kept")


def test_rejoin_copies_when_asked(disturbed_stack: EmbeddedStack) -> None:
    """A fresh base backup replaces the whole directory."""
    stack = disturbed_stack
    stack.failover()
    file = mark(stack.standby)
    stack.rejoin(rewind=False)
    assert not file.exists()
    assert stack.primary.streams_to(stack.standby)


def test_switchover_copies_nothing(disturbed_stack: EmbeddedStack) -> None:
    """In a clean handover the old primary goes on with the directory it has."""
    stack = disturbed_stack
    stack.primary.sql("CREATE TABLE kept AS SELECT 1 AS n")
    old = stack.primary
    file = mark(old)
    assert stack.switchover() is not old
    assert stack.standby is old
    assert file.exists()
    assert count(stack.primary) == count(old) == 1
    file.unlink()
    stack.primary.sql("DROP TABLE kept")


def test_repair_promotes_and_brings_back(disturbed_stack: EmbeddedStack) -> None:
    """`repair` does what pg_auto_failover would, for either node."""
    stack = disturbed_stack
    assert stack.repair() is None
    old = stack.primary
    old.kill()
    assert "was lost" in (stack.repair() or "")
    assert stack.primary is not old
    stack.standby.kill()
    assert "back as standby" in (stack.repair() or "")
    assert stack.primary.streams_to(old)


def test_restart_finds_data_and_roles(directory: Path) -> None:
    """A stack that was failed over and stopped half-repaired starts with the newer primary."""
    with EmbeddedStack(directory) as stack:
        stack.failover()
        stack.primary.sql("CREATE TABLE kept AS SELECT 1 AS n")
        assert stack.primary.name == "postgres2"
    with EmbeddedStack(directory) as stack:
        assert stack.primary.name == "postgres2"
        assert count(stack.primary) == 1
        stack.wait_replayed()
        assert count(stack.standby) == 1


KILLED_RUN = """
import signal, sys
from pathlib import Path
from ops.embedded import EmbeddedStack, scratch_directory
with scratch_directory(Path(sys.argv[1])) as directory, EmbeddedStack(directory) as stack:
    pids = [*(node.process.pid for node in stack.nodes), stack.haproxy.process.pid]
    print(directory, *pids, flush=True)
    signal.pause()
"""


def killed_run(parent: Path) -> tuple[Path, list[int]]:
    """Start a stack in another process and SIGKILL that; return its directory and orphans."""
    command = [sys.executable, "-c", KILLED_RUN, str(parent)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        timer = threading.Timer(60, run.kill)
        timer.start()
        words = run.stdout.readline().split()
        timer.cancel()
        run.kill()
    return Path(words[0]), [int(word) for word in words[1:]]


def test_orphans_of_a_killed_run_are_ended(directory: Path) -> None:
    """A run in the directory of a killed one ends its processes and takes its data."""
    left, orphans = killed_run(directory)
    assert all(Stat.read(pid) for pid in orphans)
    with EmbeddedStack(left) as stack:
        assert not any(Stat.read(pid) for pid in orphans)
        assert stack.primary.streams_to(stack.standby)


def test_scratch_of_a_killed_run_is_swept(directory: Path) -> None:
    """The next scratch directory removes that of a killed run, and its processes."""
    left, orphans = killed_run(directory)
    with scratch_directory(directory) as fresh:
        assert not left.exists()
        assert fresh.exists()
        assert not any(Stat.read(pid) for pid in orphans)
    assert not fresh.exists()


def test_directory_in_use_is_refused(stack: EmbeddedStack) -> None:
    """Two runs cannot share a directory; the second is told who has it."""
    with pytest.raises(EmbeddedError, match=f"in use by process {os.getpid()}"):
        EmbeddedStack(stack.directory).start()
    assert stack.primary.running


def test_port_in_use_is_named(directory: Path) -> None:
    """A port that somebody listens on is refused by number and purpose, before anything runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        stack = EmbeddedStack(directory, ports=Ports(write=port))
        with pytest.raises(EmbeddedError, match=rf"port {port} \(write\)"):
            stack.start()
    assert not any(node.running for node in stack.nodes)


def test_failed_start_shows_the_log(directory: Path) -> None:
    """When PostgreSQL does not start, its own words are in the error, and nothing runs on."""
    with EmbeddedStack(directory) as stack:
        pass
    with (stack.primary.data / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match="no_such_setting"):
        stack.start()
    assert not any(node.running for node in stack.nodes)


@as_root
def test_nothing_runs_as_root(stack: EmbeddedStack) -> None:
    """Started by root, the processes belong to an unprivileged user, without root's groups."""
    for process in (*(node.process for node in stack.nodes), stack.haproxy.process):
        status = Path(f"/proc/{process.pid}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert set(fields["Uid"].split()) == {str(pwd.getpwnam("nobody").pw_uid)}
        assert fields["Groups"].strip() == ""


NORMAL_USER_RUN = """
import sys
from pathlib import Path
from ops.embedded import EmbeddedStack
with EmbeddedStack(Path(sys.argv[1])) as stack:
    stack.failover()
    stack.rejoin()
    stack.wait_write_route()
    print(stack.primary.name)
"""


@as_root
def test_works_for_a_normal_user(directory: Path) -> None:
    """Somebody who is not root runs the same stack, failover included."""
    nobody = pwd.getpwnam("nobody")
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    # The interpreter may live in root's home: one capability lets the user read it there.
    switch = [
        *("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"),
        *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
    ]
    done = subprocess.run(
        [*switch, sys.executable, "-c", NORMAL_USER_RUN, str(directory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "postgres2\n", done.stderr


@as_root
def test_works_below_a_closed_directory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the unprivileged user cannot go, data and binaries are put where it can."""
    elsewhere = directory / "open"
    elsewhere.mkdir()
    monkeypatch.setattr("ops.embedded.unprivileged.ELSEWHERE", elsewhere)
    closed = directory / "closed"
    closed.mkdir(mode=0o700)
    package = chosen().programs.parents[1]
    for installed in package.parent.glob(f"{package.name}*"):  # and libraries beside it
        shutil.copytree(installed, closed / installed.name, symlinks=True)
    monkeypatch.syspath_prepend(closed)
    with EmbeddedStack(closed / "dev") as stack:
        assert stack.directory.parent == elsewhere
        assert (stack.directory / "runtime").is_dir()
        assert (closed / "dev" / "elsewhere").resolve() == stack.directory
        assert stack.primary.streams_to(stack.standby)


def test_kill_ends_every_process_of_a_node(disturbed_stack: EmbeddedStack) -> None:
    """A killed node leaves no backend behind that could still commit."""
    node = disturbed_stack.standby
    pids = [node.process.pid, *map(int, node.sql("SELECT pid FROM pg_stat_activity").split())]
    node.kill()
    assert not any(Stat.read(pid) for pid in pids)


def test_stop_ends_a_frozen_node(disturbed_stack: EmbeddedStack) -> None:
    """A frozen node stops in order, without being killed."""
    disturbed_stack.standby.pause()
    disturbed_stack.standby.stop("immediate")
    assert not disturbed_stack.standby.running


def test_interrupt_leaves_no_process(directory: Path) -> None:
    """Ctrl-C during the start ends what was started already."""
    stack = EmbeddedStack(directory)

    def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    stack.wait_write_route = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stack.start()
    assert not any(node.running for node in stack.nodes)
    assert not stack.haproxy.process.running
