"""alembic/versions: one line from nothing to head. What they do needs a database."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

ROOT = Path(__file__).parents[3]
SCRIPTS = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
REVISIONS = list(SCRIPTS.walk_revisions())


def test_one_line_without_branches() -> None:
    """Revisions are numbered, and each follows the one before."""
    numbers = [revision.revision for revision in reversed(REVISIONS)]

    assert numbers == [f"{number:04}" for number in range(1, len(REVISIONS) + 1)]
    assert [revision.down_revision for revision in REVISIONS] == [*reversed(numbers[:-1]), None]


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.revision)
def test_each_says_what_it_does_and_can_be_undone(revision: Script) -> None:
    """The docstring says what a revision changes; upgrade and downgrade are both there."""
    assert len(revision.doc) > 20
    assert revision.module.upgrade.__doc__
    assert revision.module.downgrade.__doc__


@pytest.mark.parametrize("revision", REVISIONS, ids=lambda revision: revision.revision)
def test_file_is_named_like_its_revision(revision: Script) -> None:
    """The order of the files is the order of the revisions."""
    assert Path(revision.path).name.startswith(f"{revision.revision}_")
