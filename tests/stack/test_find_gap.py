"""deploy/postgres/bin/find-gap: what is missing in an archive, by listings as pgBackRest has them.

Run in the image, which has jq; a program in pgbackrest's place says what is in each case's folder.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.stack.support import DOCKER_LIMIT

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = "holdfast-postgres"
PGBACKREST = """#!/bin/bash
for word; do case $word in
info) exec cat "$CASE/info.json" ;;
repo-ls) exec cat "$CASE/listing.json" ;;
repo-get) exec cat "$CASE/$(basename "${!#}")" ;;
esac; done
"""
ALL = """cd /cases
for CASE in */; do export CASE=/cases/${CASE%/}; echo "${CASE##*/} $(find-gap)"; done"""


def segment(timeline: int, number: int) -> str:
    """Return a segment's name."""
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


def wal(timeline: int, *numbers: int) -> list[str]:
    """Return names of segments of one timeline."""
    return [segment(timeline, each) for each in numbers]


def full(began: tuple[int, int], ended: tuple[int, int], lsn: str, when: int = 1) -> dict[str, Any]:
    """Return a full backup by the segments in which it began and ended, and its last position."""
    archive = {"start": segment(*began), "stop": segment(*ended)}
    return {
        "type": "full", "timestamp": {"stop": when}, "archive": archive, "lsn": {"stop": lsn}
    }  # fmt: skip


FIRST = full((1, 5), (1, 5), "0/5000120")
MIDWAY = {2: [(1, "0/A000148")]}  # left within segment 10
BOUNDARY = {2: [(1, "0/A000000")]}
BACK = {**MIDWAY, 4: [(1, "0/9000990")]}  # a restore, to before timeline 2
TWICE = {**MIDWAY, 3: [(1, "0/A000148"), (2, "0/A000990")]}
HIGH = 0x1A3 * 256

CASES: dict[str, tuple[list[dict[str, Any]], list[str], dict[int, list[tuple[int, str]]], str]] = {
    "nothing-yet": ([], [], {}, ""),
    "no-wal": ([FIRST], [], {}, ""),
    "all-there": ([FIRST], wal(1, *range(5, 12)), {}, ""),
    "a-hole": ([FIRST], wal(1, 5, 6, 8), {}, segment(1, 7)),
    "not-its-first": ([FIRST], wal(1, 6, 7), {}, segment(1, 5)),
    "over-255": ([full((1, 250), (1, 250), "0/FA000120")], wal(1, *range(250, 260)), {}, ""),
    "a-hole-at-256": (
        [full((1, 250), (1, 250), "0/FA000120")],
        wal(1, *range(250, 256), 257), {}, segment(1, 256),
    ),
    "a-failover": ([FIRST], wal(1, *range(5, 10)) + wal(2, 10, 11), MIDWAY, ""),
    "its-last-is-missing": ([FIRST], wal(1, *range(5, 9)) + wal(2, 10), MIDWAY, segment(1, 9)),
    "its-first-is-missing": (
        [FIRST], wal(1, *range(5, 11)) + wal(2, 11), MIDWAY, segment(2, 10)
    ),
    "at-a-boundary": ([FIRST], wal(1, *range(5, 10)) + wal(2, 10), BOUNDARY, ""),
    "missing-at-a-boundary": (
        [FIRST], wal(1, *range(5, 9)) + wal(2, 10), BOUNDARY, segment(1, 9)
    ),
    "a-failover-that-wrote-nothing": ([FIRST], wal(1, *range(5, 9)), MIDWAY, ""),
    "twice-in-a-segment": ([FIRST], wal(1, *range(5, 10)) + wal(3, 10, 11), TWICE, ""),
    "a-restore": (
        [FIRST],
        wal(1, *range(5, 13)) + wal(2, 10, 11, 12) + wal(4, *range(9, 15)), BACK, "",
    ),
    "a-restore-and-its-backup": (
        [full((4, 10), (4, 10), "0/A000120")],
        wal(2, 10, 11, 12) + wal(4, 10, 11), BACK, "",
    ),
    "given-up": ([full((1, 12), (1, 12), "0/C000120")], wal(1, 12, 13), MIDWAY, segment(2, 10)),
    "given-up-before-it-ended": (
        [full((1, 9), (1, 12), "0/C000120")], wal(1, *range(9, 13)), MIDWAY, segment(2, 10)
    ),
    "given-up-in-the-segment": (
        [full((1, 10), (1, 10), "0/A000900")], wal(1, 10) + wal(2, 10), MIDWAY, segment(2, 10)
    ),
    "the-one-before-is-good": (
        [FIRST, full((1, 12), (1, 12), "0/C000120", when=2)],
        wal(1, *range(5, 13)) + wal(2, 10, 11), MIDWAY, "",
    ),
    "a-history-that-was-never-archived": (
        [FIRST], wal(1, *range(5, 10)) + wal(3, 20), MIDWAY, segment(3, 0)
    ),
    "and-its-backup": (
        [full((3, 20), (3, 20), "0/14000120")], wal(1, 9) + wal(3, 20, 21), MIDWAY, "",
    ),
    "far-on": (
        [full((1, HIGH + 5), (1, HIGH + 5), "1A3/5000120")],
        wal(1, *range(HIGH + 5, HIGH + 9)) + wal(2, HIGH + 9, HIGH + 10),
        {2: [(1, "1A3/9000148")]}, "",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def said(running_stack: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:  # noqa: ARG001 - its image
    """What it prints of each case."""
    folder = tmp_path_factory.mktemp("gaps")
    for name, (backups, segments, histories, _) in CASES.items():
        _write(folder / "cases" / name, backups, segments, histories)
    stub = folder / "bin" / "pgbackrest"
    stub.parent.mkdir()
    stub.write_text(PGBACKREST)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    mounts = [f"--volume={folder}/cases:/cases:ro", f"--volume={stub}:/usr/local/bin/pgbackrest:ro"]
    done = subprocess.run(
        ["docker", "run", "--rm", "--network=none", *mounts, IMAGE, "bash", "-c", ALL],
        capture_output=True, text=True, check=False, timeout=DOCKER_LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: found for name, _, found in lines}


def _write(
    folder: Path,
    backups: list[dict[str, Any]],
    segments: list[str],
    histories: dict[int, list[tuple[int, str]]],
) -> None:
    folder.mkdir(parents=True)
    listing = {f"17-1/{each[:16]}/{each}-0a1b.zst": {"type": "file"} for each in segments}
    for timeline, parents in histories.items():
        name = f"{timeline:08X}.history"
        listing[f"17-1/{name}"] = {"type": "file"}
        lines = (f"{parent}\t{left}\tno recovery target specified\n" for parent, left in parents)
        (folder / name).write_text("\n".join(lines))
    (folder / "info.json").write_text(json.dumps([{"backup": backups}]))
    (folder / "listing.json").write_text(json.dumps(listing))


@pytest.mark.parametrize("name", CASES)
def test_what_is_missing(name: str, said: dict[str, str]) -> None:
    """The first segment without which the newest full backup leads no further, if any."""
    assert said[name] == CASES[name][3]
