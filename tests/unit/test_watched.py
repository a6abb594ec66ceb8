"""deploy/postgres/bin/watched.sh: what the repository tells those who watch it."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.unit.shells import DEPLOY, Node

SOURCE = """
failed=$HOME/failed gap=$HOME/gap info=$HOME/info.json
BACKUP_FULL_DAYS=7 BACKUP_DIFF_HOURS=24
source "$HOME/bin/watched.sh"
facts=$HOME web=$HOME/web.yml
"""


@pytest.fixture
def repository(node: Node) -> Node:
    """A container of the repository that has taken one full backup and one on top of it."""
    for source in ("postgres/bin/watched.sh", "shell/digest.sh"):
        shutil.copy(DEPLOY / source, node.home / "bin")
    backups = [
        {"archive": {"stop": "0" * 24}, "lsn": {"stop": "0/3000060"}, "timestamp": {"stop": moment}}
        for moment in (1_800_086_400, 1_800_000_000)
    ]
    (node.home / "info.json").write_text(json.dumps([{"backup": backups}]))
    return node


def facts(repository: Node) -> dict[str, float]:
    """Return what it tells, as Prometheus reads it."""
    text = repository.run(f"{SOURCE} write_facts; cat $facts/facts.prom")
    lines = [line.split(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("holdfast_backup_"): float(value) for name, value in lines}


def test_what_is_well(repository: Node) -> None:
    """The newest backup's end, and how far apart they are meant to be."""
    assert facts(repository) == {
        "gap": 0,
        "failed": 0,
        "verified_timestamp_seconds": 0,
        "last_timestamp_seconds": 1_800_086_400,
        "full_interval_seconds": 7 * 86_400,
        "diff_interval_seconds": 86_400,
    }


@pytest.mark.parametrize("name", ["gap", "failed"])
def test_what_is_wrong(repository: Node, name: str) -> None:
    """As long as the file is there that says so."""
    (repository.home / name).write_text("diff\n")
    assert facts(repository)[name] == 1
    (repository.home / name).unlink()
    assert facts(repository)[name] == 0


def test_before_the_first_look_nothing_is_said_of_backups(repository: Node) -> None:
    """`none` would be told as a backup of 1970."""
    (repository.home / "info.json").unlink()
    assert "last_timestamp_seconds" not in facts(repository)


@pytest.mark.parametrize("said", ["[]", "[{}]", '[{"backup": []}]', "ERROR"])
def test_without_a_backup_there_is_none(repository: Node, said: str) -> None:
    """Nor where pgBackRest has not said anything yet."""
    (repository.home / "info.json").write_text(said)
    assert facts(repository)["last_timestamp_seconds"] == 0


def test_the_password_is_not_in_the_file(repository: Node) -> None:
    """Its digest is: bcrypt, which only this password fits."""
    config = repository.run(f"{SOURCE} write_web 'of those who watch'; cat $web")
    assert "of those who watch" not in config
    digest = config.split("'")[1]
    assert digest.startswith("$2b$")
    crypt = "print crypt($ARGV[0], $ARGV[1])"
    for password, fits in (("of those who watch", True), ("another", False)):
        command = ["perl", "-e", crypt, password, digest]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert (done.stdout == digest) == fits
