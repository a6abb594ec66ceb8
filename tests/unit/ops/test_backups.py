"""ops.backups and ops.scratch: what pgBackRest says, and what it is told."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from ops import backups, cluster, scratch
from ops.console import StackError

INFO = [
    {
        "name": "holdfast",
        "backup": [
            {
                "label": "20261128-080000F",
                "type": "full",
                "error": False,
                "timestamp": {"start": 1795852800, "stop": 1795852810},
                "lsn": {"start": "0/4000028", "stop": "0/4000120"},
                "info": {"size": 31000000, "delta": 31000000, "repository": {"delta": 4100000}},
            },
            {
                "label": "20261128-080000F_20261129-080000D",
                "type": "diff",
                "error": True,
                "timestamp": {"start": 1795939200, "stop": 1795939203},
                "lsn": {"start": "1/6000028", "stop": "1/6000120"},
                "info": {"size": 32000000, "delta": 900000, "repository": {"delta": 130000}},
            },
        ],
    }
]
"""As `pgbackrest info --output=json` of 2.55 says it, without what is not read."""


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """A running one, with what INFO has in it."""
    running = cluster.Container(cluster.REPOSITORY, "running", "Up (healthy)")
    monkeypatch.setattr(cluster, "containers", lambda: [running])
    monkeypatch.setattr(cluster, "docker", lambda *_: json.dumps(INFO))


@pytest.mark.usefixtures("repository")
def test_backups_are_read() -> None:
    """In order; of a block backup, what it takes is its delta; damaged pages are said."""
    full, diff = backups.backups()
    assert (full.kind, full.size, full.stored, full.sound) == ("full", 31000000, 4100000, True)
    assert (diff.kind, diff.stored, diff.sound) == ("diff", 130000, False)
    assert diff.ended == 1795939203


@pytest.mark.parametrize("said", ["[]", '[{"name": "holdfast", "status": {"code": 1}}]'])
def test_a_repository_without_backups(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the stanza is made, and before the first backup is done."""
    monkeypatch.setattr(backups, "container", lambda: "backup")
    monkeypatch.setattr(cluster, "docker", lambda *_: said)
    assert backups.backups() == []


@pytest.mark.parametrize(
    ("there", "command"),
    [
        ([], "BACKUP=yes make up"),
        ([cluster.Container("backup", "exited", "Exited (137)")], "docker start backup"),
    ],
)
def test_no_repository_says_what_to_do(
    there: list[cluster.Container], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is none, or it is down."""
    monkeypatch.setattr(cluster, "containers", lambda: there)
    with pytest.raises(StackError, match=command):
        backups.container()


@pytest.mark.parametrize(
    ("last", "reaches"),
    [
        (None, False),
        ("000000020000000000000004", False),
        ("000000020000000000000005", True),
        ("000000020000000000000005.00000028.backup", True),
        ("000000020000000000000006.partial", True),
        ("00000003.history", False),  # archived before all segments
        ("000000030000000000000005", True),
    ],
)
def test_what_is_archived(last: str | None, *, reaches: bool) -> None:
    """Names of segments are in order, those of a later timeline behind those of an earlier one."""
    assert backups._reaches(last, "000000020000000000000005") is reaches


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("latest", ("default", "")),
        ("0/5000148", ("lsn", "0/5000148")),
        ("a/ff", ("lsn", "A/FF")),
        ("2026-11-28T09:30:00Z", ("time", "2026-11-28 09:30:00.000000+00")),
        ("2026-11-28 09:30:00.25", ("time", "2026-11-28 09:30:00.250000+00")),
        ("2026-11-28T10:30+01:00", ("time", "2026-11-28 09:30:00.000000+00")),
        ("2026-11-28", ("time", "2026-11-28 00:00:00.000000+00")),
    ],
)
def test_points_in_time(said: str, meant: tuple[str, str]) -> None:
    """As pgBackRest takes them; a time without an offset is UTC."""
    assert scratch.target(said) == scratch.Target(*meant)


@pytest.mark.parametrize("said", ["", "yesterday", "0/", "2026-13-01", "09:30", "0/5000148; x"])
def test_what_is_no_point_in_time(said: str) -> None:
    """Said with an example of each kind."""
    with pytest.raises(StackError, match=r"`latest`, an LSN such as .*, or a time such"):
        scratch.target(said)


def test_what_is_yet_to_come() -> None:
    """Cannot be restored."""
    later = datetime.now(UTC) + timedelta(minutes=1)
    with pytest.raises(StackError, match="yet to come"):
        scratch.target(later.isoformat())


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("kind", "value", "covered"),
    [
        ("default", "", True),
        ("time", "2026-11-28 08:00:09.999999+00", False),
        ("time", "2026-11-28 08:00:10.999999+00", False),  # in the second in which it ended
        ("time", "2026-11-28 08:00:11+00", True),
        ("lsn", "0/400011F", False),
        ("lsn", "0/4000120", True),
        ("lsn", "1/0", True),
    ],
)
def test_before_the_oldest_backup(kind: str, value: str, *, covered: bool) -> None:
    """Said before anything is done, with what can be restored."""
    outcome = nullcontext()
    if not covered:
        outcome = pytest.raises(StackError, match="is of 2026-11-28 08:00:10 UTC, 0/4000120")
    with outcome:
        scratch.require_covered(scratch.Target(kind, value), backups.backups())


def test_without_any_backup() -> None:
    """Said with what takes one."""
    with pytest.raises(StackError, match="backup run"):
        scratch.require_covered(scratch.Target("default"), [])


@pytest.mark.parametrize(
    ("archived", "failed", "archives"),
    [
        (None, None, True),
        ("10:00", None, True),
        ("10:00", "09:00", True),
        ("09:00", "10:00", False),
        (None, "10:00", False),
    ],
)
def test_whether_the_primary_archives(
    archived: str | None, failed: str | None, archives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happened last counts; nothing at all is well."""
    row = {
        f"last_{name}_time": f"2026-11-28T{when}:00+00:00" if when else None
        for name, when in (("archived", archived), ("failed", failed))
    }
    said = {"postgres2": json.dumps(row), cluster.REPOSITORY: ""}
    monkeypatch.setattr(cluster, "ask", lambda member, *_: said[member])
    found = backups.reach("postgres2")
    assert found.archives is archives
    assert (found.first, found.newest, found.failed, found.late) == (None, None, "", False)


@pytest.mark.parametrize(("hours", "late"), [("", True), ("24", True), ("36", False)])
def test_a_backup_is_late_after_twice_its_time(
    hours: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest is 49 hours old."""
    monkeypatch.setenv("BACKUP_DIFF_HOURS", hours)
    newest = datetime.now(UTC).timestamp() - 49 * 3600
    assert backups.Reach(newest, newest, None, archives=True, failed="").late is late
