"""deploy/postgres/bin: what a data node sees of its primary, its PostgreSQL and its volume."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.processes import running
from tests.unit.shells import CONNINFO, DEPLOY, STANDBY, Node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "host"),
    [
        (f"{CONNINFO}\nprimary_slot_name = 'pgautofailover_standby_2'\n", "postgres1"),
        (f"# primary_conninfo = 'host=a'\n{CONNINFO}", "postgres1"),
        ("primary_conninfo = 'port=5432 host=172.30.1.21'\n", "172.30.1.21"),
        ("primary_conninfo = ''\n", "none"),
        ("", "none"),
        (None, "none"),
    ],
    ids=["pg_autoctl's", "no end of line", "at the end", "no host", "empty", "no file"],
)
def test_the_primary_is_read_from_what_pg_autoctl_wrote(
    node: Node, text: str | None, host: str
) -> None:
    """Which is not there on a node that never was a standby."""
    if text is not None:
        (node.home / "data" / STANDBY).write_text(text)
    assert node.run('host=; replicates_from || host=none; echo "$host"') == host


@pytest.mark.parametrize("version", ["17\n", "", None], ids=["the image's", "half made", "none"])
def test_data_of_the_images_major_are_taken(node: Node, version: str | None) -> None:
    """And a volume without data."""
    if version is not None:
        (node.home / "data" / "PG_VERSION").write_text(version)
    assert node.run("PG_MAJOR=17; require_major; echo on") == "on"


def test_data_of_another_major_are_left_alone(node: Node) -> None:
    """The entry point ends and says which two they are."""
    (node.home / "data" / "PG_VERSION").write_text("17\n")
    said = node.run("PG_MAJOR=18; (require_major) 2>&1 || echo $?")
    assert "the data are of PostgreSQL 17, and this image has 18: docs/upgrade.md" in said
    assert said.endswith("\n2")


def test_pg_ctl_runs_the_one_beside_it(tmp_path: Path) -> None:
    """PostgreSQL's own, which the image has moved, whatever the major release."""
    ours = tmp_path / "pg_ctl"
    shutil.copy(DEPLOY / "postgres" / "pg_ctl", ours)
    (tmp_path / "pg_ctl.distrib").write_text('#!/bin/sh\necho "real: $*"\n')
    for file in tmp_path.iterdir():
        file.chmod(0o755)
    for command in (str(ours), "pg_ctl"):  # by its path, and as found on PATH
        done = subprocess.run(
            [command, "status", "-D", "x"],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "real: status -D x\n")


def test_the_room_on_the_volume_is_what_df_says(node: Node) -> None:
    """Others write meanwhile: it is asked again until both fall into a quiet moment."""
    script = """
        for ((look = 0; look < 100; look++)); do
            measure_room
            said=$(df --output=avail --block-size=1M "$HOME" | tail -n 1)
            [ "$free" != "${said// /}" ] || break
        done
        echo $((look < 100)) "$free"
    """
    same, free = node.run(script).split()
    assert same == "1"
    assert int(free) > 0


def test_the_volume_is_noted_for_who_watches(node: Node) -> None:
    """Its size and what is left, in bytes; the line is always as long, so it is written over."""
    script = """
        measure_room && note_volume && note_volume
        IFS= read -r line <"$notes/volume"
        echo "$(wc -l <"$notes/volume") ${#line} $bytes $line"
    """
    lines, length, size, left, noted_size, noted_left = node.run(script).split()
    assert (lines, length) == ("1", "50")
    assert (noted_size, noted_left) == (size, left)
    assert int(size) > int(left) > 0


def test_a_copy_under_way_is_seen(node: Node) -> None:
    """By the name of its process. Other tests' copies, on this machine, end within seconds."""
    program = node.home / "pg_rewind"
    shutil.copy("/bin/sleep", program)
    assert node.tells("idle() { ! copies_now; }; wait_until 15 'no copy on this machine' idle")
    assert (
        node.run(f"{program} 60 & copy=$!; wait_until 5 copy copies_now && echo yes; kill $copy")
        == "yes"
    )


def test_a_postmaster_is_one_that_runs(node: Node) -> None:
    """Its file may be left by one that was killed, and its number another's by now."""
    program, file = node.home / "postgres", node.home / "data" / "postmaster.pid"
    shutil.copy("/bin/sleep", program)
    asks = 'find_postmaster; echo "${postmaster:-none}"'
    assert node.run(asks) == "none"
    file.write_text(f"{os.getpid()}\n{node.home}\n")
    assert node.run(asks) == "none"
    with running(program) as process:
        file.write_text(f"{process.pid}\n{node.home}\n")
        assert node.run(asks) == str(process.pid)


# ---------------------------------------------------------------- the way to the primary
@pytest.fixture
def silence() -> Iterator[int]:
    """The port of a server whose queue is full: the kernel drops what comes, as a cut way does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = [socket.socket() for _ in range(4)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex(server.getsockname())
            yield server.getsockname()[1]
        finally:
            for each in waiting:
                each.close()


def test_a_connection_is_an_answer(node: Node, listener: socket.socket) -> None:
    """Also of a server that is too busy to accept it."""
    assert node.tells(f"answers_at_all 127.0.0.1 {listener.getsockname()[1]}")


def test_a_refusal_is_an_answer(node: Node, closed: int) -> None:
    """The machine is there."""
    assert node.tells(f"answers_at_all 127.0.0.1 {closed}")


def test_silence_is_no_answer(node: Node, silence: int) -> None:
    """It lasts a second; nothing of the attempt is left, neither a process nor an open file."""
    script = f"""
        opened() {{ open=(/proc/$BASHPID/fd/*); echo "${{#open[@]}}"; }}
        opened
        answers_at_all 127.0.0.1 {silence} || passed
        opened
        children; echo "${{known#* }}."
    """
    before, waited, after, left = node.run(script).splitlines()
    assert 1000 <= int(waited) < 5000
    assert after == before
    assert left == "."
