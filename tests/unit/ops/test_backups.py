"""ops.backups: what pgBackRest says, and what it is told."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest

from ops import cluster
from ops.backups import archiving, histories, marks, points, repository
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
                "archive": {
                    "start": "000000010000000000000004",
                    "stop": "000000010000000000000004",
                },
                "info": {"size": 31000000, "delta": 31000000, "repository": {"delta": 4100000}},
            },
            {
                "label": "20261128-080000F_20261129-080000D",
                "type": "diff",
                "error": True,
                "timestamp": {"start": 1795939200, "stop": 1795939203},
                "lsn": {"start": "1/6000028", "stop": "1/6000120"},
                "archive": {
                    "start": "0000000A0000000100000006",
                    "stop": "0000000A0000000100000006",
                },
                "annotation": {"mark.before-0015": "1/7000148 1795940000", "other": "x"},
                "info": {"size": 32000000, "delta": 900000, "repository": {"delta": 130000}},
            },
        ],
    }
]
"""As `pgbackrest info --output=json` of 2.55 says it, without what is not read."""


@pytest.fixture
def repository_with_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A running one, with what INFO has in it."""
    running = cluster.Container(cluster.REPOSITORY, "running", "Up (healthy)")
    monkeypatch.setattr(cluster, "containers", lambda: [running])
    monkeypatch.setattr(cluster, "docker", lambda *_: json.dumps(INFO))


@pytest.mark.usefixtures("repository_with_two")
def test_backups_are_read() -> None:
    """In order; of a block backup, what it takes is its delta; damaged pages are said."""
    full, diff = repository.backups()
    assert (full.kind, full.size, full.stored, full.sound) == ("full", 31000000, 4100000, True)
    assert (diff.kind, diff.stored, diff.sound) == ("diff", 130000, False)
    assert diff.ended == 1795939203


@pytest.mark.parametrize("said", ["[]", '[{"name": "holdfast", "status": {"code": 1}}]'])
def test_a_repository_without_backups(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the stanza is made, and before the first backup is done."""
    monkeypatch.setattr(repository, "container", lambda: "backup")
    monkeypatch.setattr(cluster, "docker", lambda *_: said)
    assert repository.backups() == []


UNREADABLE = (
    '[{"name": "holdfast", "backup": [], "archive": [], "repo": [{"key": 1, "status":'
    ' {"code": 99, "message": "[HostConnectError] no\x02 way\nA hint"}}]}]'
)
"""As it is said where the repository does not answer, or what it says cannot be decrypted."""


def test_a_repository_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is not one without backups; bytes that are no text do not stop `status`."""
    monkeypatch.setattr(repository, "container", lambda: "backup")
    monkeypatch.setattr(cluster, "docker", lambda *_: UNREADABLE)
    with pytest.raises(StackError, match=r"cannot be read: \[HostConnectError\] no\x02 way$"):
        repository.backups()
    monkeypatch.setattr(cluster, "ask", lambda *_: UNREADABLE)
    assert repository.reach(None).newest is None


@pytest.mark.parametrize(
    ("archived", "gap"),
    [
        ("000000020000000000000005", ""),
        ("000000030000000000000006", "000000030000000000000006"),  # dropped: the queue was full
        ("000000030000000000000006.partial", ""),  # half of one is in no list of segments
        ("00000003.history", ""),
    ],
)
def test_what_was_archived_and_is_not_there(
    archived: str, gap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that begins a timeline archives the half of its predecessor's last segment first."""
    said = [{"archive": [{"max": "000000020000000000000005"}], "backup": [], "repo": []}]
    asked = {repository.LOOK[0]: json.dumps(said)}
    monkeypatch.setattr(cluster, "ask", lambda _, *words: asked.get(words[0], ""))
    row = {"last_archived_wal": archived}
    monkeypatch.setattr(cluster, "query", lambda *_: json.dumps(row))
    assert repository.reach("postgres1").gap == gap


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
        repository.container()


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
    assert archiving.reaches(last, "000000020000000000000005") is reaches


MARKED = repository.Mark("before-0015", "1/7000148", 1795940000)


def backup(label: str, ended: float, lsn: str, *marks: repository.Mark) -> repository.Backup:
    """Return one with only what a target is found by."""
    return repository.Backup(
        label, "full", ended, ended, lsn, 0, 0, sound=True, timeline=1, marks=marks
    )


BACKUPS = [
    backup("20261128-080000F", 1795852810, "0/4000120"),
    backup("20261129-080000F", 1795939203, "1/6000120", MARKED),
    backup("20261129-090000F", 1795942803, "1/8000120"),
]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("latest", ("default", "", "20261129-090000F")),
        ("0/5000148", ("lsn", "0/5000148", "20261128-080000F")),
        ("a/ff", ("lsn", "A/FF", "20261129-090000F")),
        ("2026-11-28T09:30:00Z", ("time", "2026-11-28 09:30:00.000000+00", "20261128-080000F")),
        ("2026-11-28 09:30:00.25", ("time", "2026-11-28 09:30:00.250000+00", "20261128-080000F")),
        ("2026-11-29T09:00+01:00", ("time", "2026-11-29 08:00:00.000000+00", "20261128-080000F")),
        ("2026-11-29T08:00:04", ("time", "2026-11-29 08:00:04.000000+00", "20261129-080000F")),
        ("before-0015", ("name", "before-0015.1795940000", "20261129-080000F")),
    ],
)
def test_points_in_time(said: str, meant: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """As pgBackRest takes them, with the newest backup before; a time without an offset is UTC."""
    monkeypatch.setattr(points, "datetime", Later)
    assert points.find(said, BACKUPS).words == meant


class Later(datetime):
    """A clock by which the moments of these tests have been."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """Return a moment after them."""
        return cls(2026, 12, 1, tzinfo=tz)


@pytest.mark.parametrize("said", ["", "yesterday", "0/", "2026-13-01", "09:30", "0/5000148; x"])
def test_what_is_no_point_in_time(said: str) -> None:
    """Said with an example of each kind."""
    with pytest.raises(StackError, match=r"`latest`, a mark .*, an LSN such as .*, or a time such"):
        points.find(said, BACKUPS)


def test_what_is_yet_to_come() -> None:
    """Cannot be restored."""
    later = datetime.now(UTC) + timedelta(minutes=1)
    with pytest.raises(StackError, match="yet to come"):
        points.find(later.isoformat(), BACKUPS)


@pytest.mark.parametrize(
    ("said", "covered"),
    [
        ("latest", True),
        ("2026-11-28T08:00:09.999999Z", False),
        ("2026-11-28T08:00:10.999999Z", False),  # in the second in which it ended
        ("2026-11-28T08:00:11Z", True),
        ("0/400011F", False),
        ("0/4000120", True),
        ("1/0", True),
    ],
)
def test_before_the_oldest_backup(
    said: str, *, covered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said before anything is done, with what can be restored."""
    monkeypatch.setattr(points, "datetime", Later)
    outcome = nullcontext()
    if not covered:
        outcome = pytest.raises(StackError, match="is of 2026-11-28 08:00:10 UTC, 0/4000120")
    with outcome:
        points.find(said, BACKUPS)


def test_without_any_backup() -> None:
    """Said with what takes one."""
    with pytest.raises(StackError, match="backup run --full"):
        points.find("latest", [])


LISTING = """archive.info
17-1/00000002.history
17-1/0000000100000000/000000010000000000000004-0a1b.zst
17-1/0000000100000001/000000010000000100000006-0a1b.zst
17-1/0000000A00000001/0000000A0000000100000006-0a1b.zst
"""
LEFT = "1\t{}\tno recovery target specified\n\n2\t1/5000000\tno recovery target specified\n"


@pytest.mark.parametrize(
    ("listing", "history", "kinds"),
    [
        ("archive.info\n", "", ["full", "diff"]),
        (f"{LISTING}17-1/0000000A.history\n", LEFT.format("0/4000120"), ["full", "diff"]),
        (f"{LISTING}17-1/0000000A.history\n", LEFT.format("0/400011F"), ["diff"]),
        (f"{LISTING}17-1/0000000B.history\n", LEFT.format("0/5000000"), ["full"]),
        (f"{LISTING}17-1/0000000B.history\n", LEFT.format("0/4000000"), []),
        (LISTING, "", ["diff"]),  # what began timeline 10 was never archived
    ],
)
def test_backups_that_lead_on(
    listing: str, history: str, kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of timelines that led to the newest, as far as these were left after the backup."""

    def docker(*words: str) -> str:
        if "repo-ls" in words:
            return listing
        return history if "repo-get" in words else json.dumps(INFO)

    monkeypatch.setattr(repository, "container", lambda: "backup")
    monkeypatch.setattr(cluster, "docker", docker)
    assert [each.kind for each in histories.usable()] == kinds


@pytest.mark.usefixtures("repository_with_two")
def test_marks_are_read() -> None:
    """From the annotations of the backup that they were set after; others stay out."""
    full, diff = repository.backups()
    assert (full.marks, diff.marks) == ((), (MARKED,))


@pytest.mark.usefixtures("repository_with_two")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "no name"),
        ("latest", "no name"),
        ("1st", "no name"),
        ("x'", "no name"),
        ("a" * 51, "no name"),
        ("before-0015", "already"),
    ],
)
def test_no_name_for_a_mark(name: str, why: str) -> None:
    """Refused before anything is written: a time, a mark that is there, what is SQL."""
    with pytest.raises(StackError, match=why):
        marks.make(name)


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
    found = repository.reach("postgres2")
    assert found.archives is archives
    assert (found.first, found.newest, found.failed, found.late) == (None, None, "", False)


@pytest.mark.parametrize(
    ("last", "file", "gap"),
    [
        ("000000010000000000000004", "", ""),
        ("000000010000000000000005", "", "000000010000000000000005"),  # said to be archived
        ("00000002.history", "", ""),
        ("000000010000000000000004", "000000010000000000000003\n", "000000010000000000000003"),
        (None, "", ""),
    ],
)
def test_what_is_missing(
    last: str | None, file: str, gap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the repository says, or what the primary has handed over and nobody has."""
    stanza = {"archive": [{"id": "17-1", "max": "000000010000000000000004"}], "backup": []}

    def ask(member: str, *words: str) -> str:
        if member == "postgres2":
            return json.dumps({"last_archived_wal": last})
        return {repository.GAP: file}.get(
            words[-1], "" if words[0] == "cat" else json.dumps([stanza])
        )

    monkeypatch.setattr(cluster, "ask", ask)
    assert repository.reach("postgres2").gap == gap


@pytest.mark.parametrize(("hours", "late"), [("", True), ("24", True), ("36", False)])
def test_a_backup_is_late_after_twice_its_time(
    hours: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest is 49 hours old."""
    monkeypatch.setenv("BACKUP_DIFF_HOURS", hours)
    newest = datetime.now(UTC).timestamp() - 49 * 3600
    assert repository.Reach(newest, newest, None, archives=True, failed="").late is late
